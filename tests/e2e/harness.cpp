#include "tests/e2e/harness.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace hivq::e2e {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::string program(const std::string& name) { return std::string(HIVQ_BIN_DIR) + "/" + name; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool wait_until(const std::function<bool()>& condition, double seconds) {
  auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(20));
  }
  return condition();
}

// ---- Workspace ----

Workspace::Workspace() {
  std::string name = (fs::temp_directory_path() / "hivq_e2e_XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) panic("no temporary folder can be made");
  folder_ = name;
}

Workspace::~Workspace() {
  for (const auto& process : started_) stop(process, std::chrono::seconds(10));
  if (testing::Test::HasFailure()) {
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.path().extension() == ".log" && entry.path().string().find("/store/") == std::string::npos) {
        fmt::print("---- {}\n{}\n", entry.path().string(), read_text(entry.path().string()));
      }
    }
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string Workspace::write(const std::string& name, const std::string& text) const {
  std::ofstream(path(name), std::ios::binary) << text;
  return path(name);
}

ProcessId Workspace::start(std::vector<std::string> command, const std::string& log) {
  SpawnOptions options;
  options.command = std::move(command);
  options.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  options.output = path(log);
  options.die_with_parent = true;
  auto process = spawn(options);
  if (!process) panic(process.error().message);
  started_.push_back(*process);
  return *process;
}

void Workspace::kill_hard(const ProcessId& process) {
  kill(process.pid, SIGKILL);
  while (!try_wait(process) && alive(process)) std::this_thread::sleep_for(milliseconds(5));
}

Workspace::Ended Workspace::run(std::vector<std::string> command, int seconds) {
  std::string name = command[0].substr(command[0].rfind('/') + 1);
  std::string log = fmt::format("run{}_{}.log", ++runs_, name);
  ProcessId process = start(std::move(command), log);
  std::optional<Exit> exit;
  if (!wait_until([&] { return (exit = try_wait(process)).has_value(); }, seconds)) {
    ADD_FAILURE() << name << " did not end within " << seconds << " s:\n" << read_text(path(log));
    return {-1, read_text(path(log))};
  }
  return {exit->code, read_text(path(log))};
}

// ---- Coordinator ----

Coordinator::Coordinator(Workspace& space, std::string data_folder, std::vector<std::string> more)
    : workspace(space), data(std::move(data_folder)), flags(std::move(more)) {
  start();
}

void Coordinator::start() {
  std::vector<std::string> command{program("hivq-coordinator"), "--data", data, "--listen", "tcp://127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  process = workspace.start(command, "coordinator.log");
  bool ready = wait_until([&] {
    auto json = nlohmann::json::parse(read_text(data + "/coordinator.json"), nullptr, false);
    if (!json.is_object() || json.value("pid", 0) != process.pid) return false;
    endpoint = json["endpoint"];
    return true;
  });
  if (!ready) panic("the coordinator did not start: " + log());
}

Client Coordinator::client() const { return Client::connect(endpoint).value(); }

// ---- Workers ----

std::multimap<int, ProcessId> workers_of(const std::string& endpoint) {
  std::multimap<int, ProcessId> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string name = entry.path().filename();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size()) continue;
    std::string command = read_text(entry.path().string() + "/cmdline");
    size_t end = command.find('\0');
    if (end == std::string::npos || !command.substr(0, end).ends_with("hivq-worker")) continue;
    if (command.find(endpoint) == std::string::npos) continue;
    std::string environment = read_text(entry.path().string() + "/environ");
    static constexpr std::string_view key = "OMPI_COMM_WORLD_RANK=";
    size_t at = environment.find(key);
    int rank = at == std::string::npos ? 0 : std::atoi(environment.c_str() + at + key.size());
    ProcessId process = process_of(pid);
    if (alive(process)) found.emplace(rank, process);
  }
  return found;
}

std::string tiny_job(int trials, int epochs) {
  std::string seeds;
  for (int i = 0; i < trials; ++i) seeds += (i ? ", " : "") + std::to_string(i);
  return fmt::format(R"(name: tiny
data:
  name: fashion-mnist
  normal_classes: [0, 1]
  train_per_class: 16
  test_per_class: 8
  image_size: 64
model:
  width: 32
  layers: 2
  heads: 4
  feed_forward: 64
  quantizer: {{prototypes: 16}}
train:
  epochs: {}
  batch_size: 8
  lr: 1.0e-3
  lr_drop_epoch: 0
  eval_every: 50
  checkpoint_every: 5
sweep:
  search: grid
  parameters:
    train.seed: [{}]
)",
                     epochs, seeds);
}

}  // namespace hivq::e2e
