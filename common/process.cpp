#include "common/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace hivq {

namespace {

struct Stat {
  char state = 0;           // field 3 of /proc/PID/stat
  pid_t session = 0;        // field 6
  uint64_t start_time = 0;  // field 22
};

/// Whether stat_of() finds nothing because there is no such process, and not because nothing could be opened.
bool vanished(pid_t pid) { return pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH); }

// The name in field 2 may hold anything, so start after its last ')'.
std::optional<Stat> stat_of(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  size_t end = text.rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(end + 1));
  Stat stat;
  std::string skipped;
  rest >> stat.state >> skipped >> skipped >> stat.session;
  for (int field = 7; field < 22; ++field) rest >> skipped;
  rest >> stat.start_time;
  return stat;
}

// What the child does between fork and exec; only async-signal-safe calls. Errors go to the parent through `pipe`.
[[noreturn]] void run_child(const SpawnOptions& options, pid_t parent, char* const* arguments, int output, int pipe) {
  setsid();
  if (options.die_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);  // it died before the call above
  }
  for (int number : {SIGHUP, SIGINT, SIGPIPE, SIGTERM}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  if (output >= 0) {
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
  }
  execvp(arguments[0], arguments);
  int code = errno;
  (void)!write(pipe, &code, sizeof code);
  _exit(127);
}

}  // namespace

ProcessId process_of(pid_t pid) {
  auto found = stat_of(pid);
  return {pid, found ? found->start_time : 0};
}

Result<ProcessId> spawn(const SpawnOptions& options) {
  check(!options.command.empty(), "spawn() without a command");
  int output = -1;
  if (!options.output.empty()) {
    output = open(options.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (output < 0) return error("cannot write to {}: {}", options.output, std::strerror(errno));
  }
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) {
    int code = errno;
    if (output >= 0) close(output);
    return error("cannot start {}: {}", options.command[0], std::strerror(code));
  }
  std::vector<char*> arguments;
  for (const auto& argument : options.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // The child's environment is made before fork: setenv is not safe after it.
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string text = *entry;
    if (!options.environment.contains(text.substr(0, text.find('=')))) entries.push_back(std::move(text));
  }
  for (const auto& [key, value] : options.environment) entries.push_back(key + "=" + value);
  std::vector<char*> environment;
  for (auto& entry : entries) environment.push_back(entry.data());
  environment.push_back(nullptr);

  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    environ = environment.data();
    run_child(options, parent, arguments.data(), output, pipe[1]);
  }
  int fork_error = errno;
  close(pipe[1]);
  if (output >= 0) close(output);
  int code = 0;
  ssize_t got = 0;  // exec closes the other end; a failed one writes its error first
  do {
    got = pid > 0 ? read(pipe[0], &code, sizeof code) : 0;
  } while (got < 0 && errno == EINTR);
  bool failed = got == sizeof code;
  close(pipe[0]);
  if (pid < 0) return error("cannot start {}: {}", options.command[0], std::strerror(fork_error));
  if (failed) {
    waitpid(pid, nullptr, 0);
    return error("cannot start {}: {}", options.command[0], std::strerror(code));
  }
  return process_of(pid);
}

bool alive(const ProcessId& process) {
  auto found = stat_of(process.pid);
  if (!found) return !vanished(process.pid);
  return found->start_time == process.start_time && found->state != 'Z' && found->state != 'X';
}

std::optional<Exit> try_wait(const ProcessId& process) {
  auto found = stat_of(process.pid);
  if (found ? found->start_time != process.start_time : vanished(process.pid)) {
    return Exit{-1, "gone"};  // or its number is another's by now
  }
  int status = 0;
  pid_t waited = waitpid(process.pid, &status, WNOHANG);
  if (waited == process.pid) {
    if (WIFSIGNALED(status)) {
      int number = WTERMSIG(status);
      return Exit{128 + number, fmt::format("signal {} ({})", number, strsignal(number))};
    }
    return Exit{WEXITSTATUS(status), fmt::format("exit code {}", WEXITSTATUS(status))};
  }
  // Not a child of ours (an earlier run of this program started it): only its disappearance can be seen.
  if (waited < 0 && !alive(process)) return Exit{-1, "gone"};
  return std::nullopt;
}

void signal_session(const ProcessId& process, int signal) {
  // The number of a session is not given to a new process while the session has members. Where the process itself is
  // another one than we know, the session has ended and its number was given away.
  auto leader = stat_of(process.pid);
  if (process.pid <= 0 || (leader && leader->start_time != process.start_time)) return;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    pid_t pid = std::atoi(entry.path().filename().c_str());
    auto found = stat_of(pid);
    if (found && found->session == process.pid) kill(pid, signal);
  }
}

void stop(const ProcessId& process, std::chrono::milliseconds grace) {
  using clock = std::chrono::steady_clock;
  auto gone = [&] { return try_wait(process).has_value() || !alive(process); };
  if (gone()) return;
  // The program itself first: mpirun and the coordinator end their own children in order.
  kill(process.pid, SIGTERM);
  for (auto end = clock::now() + grace; clock::now() < end;) {
    if (gone()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  signal_session(process, SIGKILL);
  while (!gone()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

std::string program_folder() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
}

}  // namespace hivq
