#include "jobs/cli/local_coordinator.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include "jobs/cli/interrupt.h"

namespace hivq::cli {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto start_limit = 120s;  // opening a large store after a crash takes time
constexpr auto stop_grace = 30s;    // its gangs end first
constexpr auto rival_limit = 5s;    // for another one that was started at the same time to become ready

std::string log_file(const std::string& data) { return data + "/coordinator.log"; }

int64_t size_of(const std::string& file) {
  std::error_code missing;
  auto size = fs::file_size(file, missing);
  return missing ? 0 : static_cast<int64_t>(size);
}

/// The last complaint in the log behind `from`, without its time and name.
std::string last_complaint(const std::string& file, int64_t from) {
  std::ifstream log(file);
  log.seekg(from);
  std::string last, complaint;
  for (std::string line; std::getline(log, line);) {
    if (line.empty()) continue;
    last = line;
    if (size_t at = line.find("error: "); at != std::string::npos) complaint = line.substr(at + 7);
  }
  return complaint.empty() ? last : complaint;
}

std::optional<CoordinatorFile> wait_for_rival(const std::string& data) {
  for (auto end = std::chrono::steady_clock::now() + rival_limit; std::chrono::steady_clock::now() < end;) {
    if (auto address = live_coordinator(data)) return address;
    std::this_thread::sleep_for(50ms);
  }
  return std::nullopt;
}

}  // namespace

bool has_store(const std::string& data) {
  std::error_code ignored;
  return fs::is_directory(data + "/store", ignored);
}

Result<LocalCoordinator> LocalCoordinator::open(const LocalOptions& options) {
  if (auto address = live_coordinator(options.data)) return LocalCoordinator(*address, false);
  std::error_code failed;
  fs::create_directories(options.data, failed);
  if (failed) {
    return error("cannot make the folder {}: {}; choose another with --data", options.data, failed.message());
  }
  const std::string log = log_file(options.data);
  const int64_t log_start = size_of(log);
  SpawnOptions spawning;
  spawning.command = {program_folder() + "/hivq-coordinator",
                      "--data",
                      options.data,
                      "--listen",
                      "tcp://127.0.0.1:0",
                      "--local-gangs",
                      std::to_string(options.gangs),
                      "--local-ranks",
                      std::to_string(options.ranks)};
  spawning.output = log;
  spawning.die_with_parent = true;
  auto child = spawn(spawning);
  if (!child) return error("{}; choose another folder with --data, or build hivq again", child.error().message);
  LocalCoordinator started({"", *child, ""}, true);
  for (auto end = std::chrono::steady_clock::now() + start_limit; std::chrono::steady_clock::now() < end;) {
    if (auto exit = try_wait(*child)) {
      started.ours_ = false;
      std::string complaint = last_complaint(log, log_start);
      // Two commands at once: the other one's coordinator has the store.
      if (complaint.find("in use by another coordinator") != std::string::npos) {
        if (auto address = wait_for_rival(options.data)) return LocalCoordinator(*address, false);
      }
      return error("the coordinator could not start ({}): {}", exit->text,
                   complaint.empty() ? "its log says nothing; see " + log : complaint);
    }
    auto address = live_coordinator(options.data);
    if (address && address->process.pid == child->pid) {
      started.address_ = *address;
      return started;
    }
    if (interrupted() != 0) return error("interrupted while the coordinator was starting");
    std::this_thread::sleep_for(10ms);
  }
  return error("the coordinator was not ready after {} s; see its log {}", start_limit.count(), log);
}

void LocalCoordinator::stop() {
  if (std::exchange(ours_, false)) hivq::stop(address_.process, stop_grace);
}

LocalCoordinator& LocalCoordinator::operator=(LocalCoordinator&& other) noexcept {
  if (this == &other) return *this;
  stop();
  address_ = std::move(other.address_);
  ours_ = std::exchange(other.ours_, false);
  return *this;
}

}  // namespace hivq::cli
