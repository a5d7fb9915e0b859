#include "cluster/hostfile.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "cluster/gang_command.h"
#include "cluster/process_launcher.h"

namespace hivq {

namespace {

std::string hosts_of_gang(const std::string& data, const std::string& launch) {
  return data + "/gangs/" + launch + ".hosts";
}

Result<std::vector<HostSlots>> read_hosts(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return error("cannot read the hosts {}: {}; it needs a line `HOST slots=N` for each", path, std::strerror(errno));
  return parse_hosts({std::istreambuf_iterator<char>(file), {}}, path);
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
    auto slice = slice_of(hosts, taken, request.ranks);
    if (!slice) return slice.error();
    const std::string path = hosts_of_gang(data(), request.launch);
    std::ofstream file(path);
    for (const HostSlots& host : *slice) file << host.host << " slots=" << host.slots << "\n";
    if (!file.flush()) return error("cannot write {}: {}", path, std::strerror(errno));
    slices_[request.launch] = std::move(*slice);

    SpawnOptions options;
    options.command = {"mpirun", "--hostfile", path, "-np", std::to_string(request.ranks)};
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

  void ended(const std::string& launch) override {
    slices_.erase(launch);
    std::error_code ignored;
    std::filesystem::remove(hosts_of_gang(data(), launch), ignored);
  }

  Pool pool_;
  HostfilePool hostfile_;
  LauncherOptions options_;
  std::map<std::string, std::vector<HostSlots>> slices_;  // of gangs that run
};

}  // namespace

Result<std::vector<HostSlots>> slice_of(const std::vector<HostSlots>& hosts, const std::vector<HostSlots>& taken,
                                        uint64_t ranks) {
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
  // All on one host where one can take it.
  for (const HostSlots& host : free) {
    if (host.slots >= ranks) return std::vector<HostSlots>{{host.host, ranks}};
  }
  std::vector<HostSlots> slice;
  for (uint64_t missing = ranks; const HostSlots& host : free) {
    const uint64_t slots = std::min(missing, host.slots);
    if (slots > 0) slice.push_back({host.host, slots});
    missing -= slots;
  }
  return slice;
}

std::unique_ptr<Launcher> make_hostfile_launcher(const Pool& pool, const HostfilePool& hostfile,
                                                 const LauncherOptions& options) {
  return std::make_unique<HostfileLauncher>(pool, hostfile, options);
}

}  // namespace hivq
