#include "cluster/hostfile.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "cluster/gang_command.h"
#include "cluster/process_launcher.h"

namespace hivq {

namespace {

using clock = std::chrono::steady_clock;
constexpr auto suspicion = std::chrono::minutes(5);

std::string hosts_of_gang(const std::string& data, const std::string& launch) {
  return data + "/gangs/" + launch + ".hosts";
}

Result<std::vector<HostSlots>> read_hosts(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return error("cannot read the hosts {}: {}; it needs a line `HOST slots=N` for each", path, std::strerror(errno));
  return parse_hosts({std::istreambuf_iterator<char>(file), {}}, path);
}

/// So many free slots, which are there.
std::vector<HostSlots> pick(const std::vector<HostSlots>& free, uint64_t ranks) {
  for (const HostSlots& host : free) {
    if (host.slots >= ranks) return {{host.host, ranks}};  // all on one host where one can take it
  }
  std::vector<HostSlots> slice;
  for (uint64_t missing = ranks; const HostSlots& host : free) {
    const uint64_t slots = std::min(missing, host.slots);
    if (slots > 0) slice.push_back({host.host, slots});
    missing -= slots;
  }
  return slice;
}

class HostfileLauncher final : public ProcessLauncher {
 public:
  HostfileLauncher(Pool pool, HostfilePool hostfile, LauncherOptions options)
      : ProcessLauncher(options.data),
        pool_(std::move(pool)),
        hostfile_(std::move(hostfile)),
        options_(std::move(options)) {}

 private:
  Result<SpawnOptions> command(const LaunchRequest& request) override {
    std::vector<HostSlots> hosts = hostfile_.hosts;
    if (!hostfile_.hosts_file.empty()) {
      auto read = read_hosts(hostfile_.hosts_file);
      if (!read) return read.error();
      hosts = std::move(*read);
    }
    std::vector<HostSlots> taken;
    for (const auto& [launch, slice] : slices_) taken.insert(taken.end(), slice.begin(), slice.end());
    auto slice = slice_of(hosts, taken, request.ranks, suspects());
    if (!slice) return slice.error();
    const std::string path = hosts_of_gang(data(), request.launch);
    std::ofstream file(path);
    for (const HostSlots& host : *slice) file << host.host << " slots=" << host.slots << "\n";
    if (!file.flush()) return error("cannot write {}: {}", path, std::strerror(errno));
    slices_[request.launch] = std::move(*slice);

    SpawnOptions options;
    options.command = {"mpirun", "--hostfile", path, "-np", std::to_string(request.ranks)};
    // A host that is cut off is noticed after some 10 s; by itself mpirun waits for minutes, and its daemons stay.
    for (const char* setting : {"time 5", "intvl 2", "probes 3"}) {
      const std::string word = setting;
      const size_t space = word.find(' ');
      options.command.insert(options.command.end(),
                             {"--mca", "oob_tcp_keepalive_" + word.substr(0, space), word.substr(space + 1)});
    }
    for (const auto& [name, value] : options_.environment) options.command.insert(options.command.end(), {"-x", name});
    options.command.insert(options.command.end(), hostfile_.mpirun.begin(), hostfile_.mpirun.end());
    const std::string worker = hostfile_.worker.empty() ? options_.worker : hostfile_.worker;
    const auto line =
        worker_command(worker, options_.advertise, pool_, request.launch, hostfile_.cache, options_.roots);
    options.command.insert(options.command.end(), line.begin(), line.end());
    options.environment = options_.environment;
    return options;
  }

  std::string remedy() const override {
    return "a gang of a hostfile needs Open MPI here and on its hosts (package openmpi-bin)";
  }

  void adopted(const std::string& launch) override {
    if (auto slice = read_hosts(hosts_of_gang(data(), launch))) slices_[launch] = std::move(*slice);
  }

  void ended(const std::string& launch, bool asked) override {
    if (const auto found = slices_.find(launch); found != slices_.end()) {
      std::ifstream log(gang_log(data(), launch), std::ios::binary);
      auto blamed = blamed_hosts(found->second, {std::istreambuf_iterator<char>(log), {}});
      if (blamed.empty() && !asked) {
        for (const HostSlots& host : found->second) blamed.push_back(host.host);
      }
      for (const std::string& host : blamed) suspected_[host] = clock::now();
      slices_.erase(found);
    }
    std::error_code ignored;
    std::filesystem::remove(hosts_of_gang(data(), launch), ignored);
  }

  /// Hosts of gangs that failed lately, the oldest first: whichever it was, in time a gang is tried without it.
  std::vector<std::string> suspects() {
    std::erase_if(suspected_, [](const auto& entry) { return clock::now() - entry.second > suspicion; });
    std::vector<std::pair<clock::time_point, std::string>> order;
    for (const auto& [host, since] : suspected_) order.push_back({since, host});
    std::sort(order.begin(), order.end());
    std::vector<std::string> hosts;
    for (auto& [since, host] : order) hosts.push_back(std::move(host));
    return hosts;
  }

  Pool pool_;
  HostfilePool hostfile_;
  LauncherOptions options_;
  std::map<std::string, std::vector<HostSlots>> slices_;  // of gangs that run
  std::map<std::string, clock::time_point> suspected_;    // hosts, since when
};

}  // namespace

Result<std::vector<HostSlots>> slice_of(const std::vector<HostSlots>& hosts, const std::vector<HostSlots>& taken,
                                        uint64_t ranks, const std::vector<std::string>& last) {
  std::vector<HostSlots> free;  // each host once
  for (const HostSlots& host : hosts) {
    const auto same = [&](const HostSlots& other) { return other.host == host.host; };
    const auto found = std::find_if(free.begin(), free.end(), same);
    if (found == free.end()) {
      free.push_back(host);
    } else {
      found->slots += host.slots;
    }
  }
  uint64_t all = 0, left = 0;
  for (HostSlots& host : free) {
    all += host.slots;
    for (const HostSlots& used : taken) {
      if (used.host == host.host) host.slots -= std::min(host.slots, used.slots);
    }
    left += host.slots;
  }
  if (left < ranks) {
    return error(
        "its hosts have {} slots, of which {} are free, and the gang needs {}; name more hosts, or give the pool "
        "a smaller maximum",
        all, left, ranks);
  }
  const auto place_of = [&](const HostSlots& host) {
    return std::find(last.begin(), last.end(), host.host) - last.begin();
  };
  const auto is_last = [&](const HostSlots& host) { return place_of(host) != std::ssize(last); };
  std::vector<HostSlots> preferred = free;
  std::erase_if(preferred, is_last);
  std::vector<HostSlots> rest = free;
  std::erase_if(rest, [&](const HostSlots& host) { return !is_last(host); });
  std::stable_sort(rest.begin(), rest.end(), [&](const auto& a, const auto& b) { return place_of(a) < place_of(b); });
  uint64_t slots = 0;
  for (const HostSlots& host : preferred) slots += host.slots;
  if (slots < ranks) preferred.insert(preferred.end(), rest.begin(), rest.end());
  return pick(preferred, ranks);
}

std::vector<std::string> blamed_hosts(const std::vector<HostSlots>& slice, const std::string& output) {
  std::set<std::string> blamed;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("ssh") == line.npos && line.find("daemon") == line.npos) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      while (!word.empty() && std::ispunct(static_cast<unsigned char>(word.back()))) word.pop_back();
      const auto named = [&](const HostSlots& host) { return host.host == word; };
      if (std::any_of(slice.begin(), slice.end(), named)) blamed.insert(word);
    }
  }
  return {blamed.begin(), blamed.end()};
}

std::unique_ptr<Launcher> make_hostfile_launcher(const Pool& pool, const HostfilePool& hostfile,
                                                 const LauncherOptions& options) {
  return std::make_unique<HostfileLauncher>(pool, hostfile, options);
}

}  // namespace hivq
