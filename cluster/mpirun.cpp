#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "cluster/launcher.h"

namespace hivq {

namespace {

using clock = std::chrono::steady_clock;
constexpr auto stop_grace = std::chrono::seconds(5);

/// The last lines of a gang's output. What mpirun says itself stands between lines of dashes, and after what the ranks
/// said: it counts only where they said nothing.
std::string last_lines(const std::string& path, size_t count) {
  std::ifstream file(path);
  std::deque<std::string> ranks, mpirun;
  bool framed = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    if (line.size() > 20 && line.find_first_not_of('-') == line.npos) {
      framed = !framed;
      continue;
    }
    auto& lines = framed ? mpirun : ranks;
    lines.push_back(line);
    if (lines.size() > count) lines.pop_front();
  }
  std::string text;
  for (const auto& line : ranks.empty() ? mpirun : ranks) text += (text.empty() ? "" : " | ") + line;
  return text;
}

class MpirunLauncher final : public Launcher {
 public:
  explicit MpirunLauncher(MpirunOptions options) : options_(std::move(options)) {}

  Result<Launched> launch(const LaunchRequest& request) override {
    std::error_code failed;
    std::filesystem::create_directories(options_.data + "/gangs", failed);
    if (failed) return error("{}/gangs cannot be made: {}", options_.data, failed.message());
    SpawnOptions options;
    // --oversubscribe and --bind-to none: ranks share the cores that are there; a rank's threads are chosen by the
    // worker.
    options.command = {"mpirun",
                       "-np",
                       std::to_string(request.ranks),
                       "--oversubscribe",
                       "--bind-to",
                       "none",
                       options_.worker,
                       "--coordinator",
                       options_.coordinator,
                       "--launch",
                       request.launch,
                       "--cache",
                       options_.data + "/features",
                       "--host-gangs",
                       std::to_string(options_.gangs)};
    if (geteuid() == 0) {
      options.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
    }
    options.output = log_of(request.launch);
    auto process = spawn(options);
    if (!process) return error("{}; a local gang needs Open MPI (package openmpi-bin)", process.error().message);
    running_[request.launch] = {*process, {}};
    return Launched{request.launch, *process};
  }

  void adopt(const Launched& launched) override { running_[launched.launch] = {launched.process, {}}; }

  void stop(const std::string& launch) override {
    auto found = running_.find(launch);
    if (found == running_.end() || found->second.kill_at) return;
    if (alive(found->second.process)) kill(found->second.process.pid, SIGTERM);  // mpirun ends its ranks
    found->second.kill_at = clock::now() + stop_grace;
  }

  std::vector<LaunchExit> poll() override {
    std::vector<LaunchExit> exits;
    for (auto it = running_.begin(); it != running_.end();) {
      auto& [launch, gang] = *it;
      // Ranks outlive an mpirun that was killed. Signalled before the wait frees mpirun's number.
      if (!alive(gang.process)) signal_session(gang.process, SIGKILL);
      if (auto exit = try_wait(gang.process)) {
        std::string tail = last_lines(log_of(launch), 3);
        exits.push_back({launch, fmt::format("mpirun ended with {}{}{}", exit->text, tail.empty() ? "" : ": ", tail)});
        it = running_.erase(it);
        continue;
      }
      if (gang.kill_at && clock::now() > *gang.kill_at) signal_session(gang.process, SIGKILL);
      ++it;
    }
    return exits;
  }

  void stop_all() override {
    for (const auto& [launch, gang] : running_) stop(launch);
    while (!running_.empty()) {
      poll();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

 private:
  struct Running {
    ProcessId process;
    std::optional<clock::time_point> kill_at;
  };

  std::string log_of(const std::string& launch) const { return options_.data + "/gangs/" + launch + ".log"; }

  MpirunOptions options_;
  std::map<std::string, Running> running_;
};

}  // namespace

std::unique_ptr<Launcher> make_mpirun_launcher(MpirunOptions options) {
  return std::make_unique<MpirunLauncher>(std::move(options));
}

}  // namespace hivq
