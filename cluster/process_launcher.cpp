#include "cluster/process_launcher.h"

#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "cluster/gang_command.h"

namespace hivq {

namespace {

using clock = std::chrono::steady_clock;
constexpr auto stop_grace = std::chrono::seconds(5);
/// Tells a process that a coordinator started and had no time to write down from others.
constexpr const char* mark_name = "HIVQ_GANG";

std::optional<ProcessId> process_of_handle(const std::string& handle) {
  const std::string prefix = "pid:";
  const size_t colon = handle.find(':', prefix.size());
  if (!handle.starts_with(prefix) || colon == handle.npos) return std::nullopt;
  ProcessId process;
  const char* end = handle.data() + handle.size();
  const auto pid = std::from_chars(handle.data() + prefix.size(), handle.data() + colon, process.pid);
  const auto start = std::from_chars(handle.data() + colon + 1, end, process.start_time);
  if (pid.ec != std::errc() || start.ec != std::errc() || start.ptr != end) return std::nullopt;
  return process;
}

/// The process that spawn() started with this mark: the leader of its session.
std::optional<ProcessId> find_marked(const std::string& mark) {
  const std::string wanted = fmt::format("{}={}", mark_name, mark);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || getsid(pid) != pid) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string variables = '\0' + std::string{std::istreambuf_iterator<char>(file), {}};
    if (variables.find('\0' + wanted + '\0') == variables.npos) continue;
    const ProcessId process = process_of(pid);
    if (alive(process)) return process;
  }
  return std::nullopt;
}

}  // namespace

void ProcessLauncher::launch(const LaunchRequest& request) {
  const auto refuse = [&](const std::string& reason) { events_.push_back(LaunchExit{request.launch, reason, false}); };
  if (Status made = make_gangs_folder(data_); !made) return refuse(made.error().message);
  auto options = command(request);
  if (!options) return refuse(options.error().message);
  options->environment[mark_name] = mark(request.launch);
  if (geteuid() == 0) {
    options->environment["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
    options->environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  }
  options->output = gang_log(data_, request.launch);
  const auto process = spawn(*options);
  if (!process) {
    ended(request.launch, true);
    return refuse(fmt::format("{}; {}", process.error().message, remedy()));
  }
  running_[request.launch] = {*process, {}};
  events_.push_back(LaunchHandle{request.launch, process_handle(process->pid, process->start_time)});
}

void ProcessLauncher::adopt(const Launched& launched) {
  auto process = launched.handle.empty() ? find_marked(mark(launched.launch)) : process_of_handle(launched.handle);
  if (!process) {
    events_.push_back(LaunchExit{launched.launch, "the coordinator ended before it was started", true});
    return;
  }
  running_[launched.launch] = {*process, {}};
  adopted(launched.launch);
  if (launched.handle.empty()) {
    events_.push_back(LaunchHandle{launched.launch, process_handle(process->pid, process->start_time)});
  }
}

void ProcessLauncher::stop(const std::string& launch) {
  auto found = running_.find(launch);
  if (found == running_.end() || found->second.kill_at) return;
  if (alive(found->second.process)) kill(found->second.process.pid, SIGTERM);  // mpirun ends its ranks
  found->second.kill_at = clock::now() + stop_grace;
}

std::vector<LaunchEvent> ProcessLauncher::poll() {
  for (auto it = running_.begin(); it != running_.end();) {
    auto& [launch, gang] = *it;
    // Ranks outlive an mpirun that was killed. Signalled before the wait frees mpirun's number.
    if (!alive(gang.process)) signal_session(gang.process, SIGKILL);
    if (auto exit = try_wait(gang.process)) {
      const std::string tail = last_lines(gang_log(data_, launch), 3);
      events_.push_back(LaunchExit{
          launch, fmt::format("mpirun ended with {}{}{}", exit->text, tail.empty() ? "" : ": ", tail), false});
      ended(launch, gang.kill_at.has_value());
      it = running_.erase(it);
      continue;
    }
    if (gang.kill_at && clock::now() > *gang.kill_at) signal_session(gang.process, SIGKILL);
    ++it;
  }
  return std::exchange(events_, {});
}

void ProcessLauncher::close() {
  for (const auto& [launch, gang] : running_) stop(launch);
  while (!running_.empty()) {
    poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace hivq
