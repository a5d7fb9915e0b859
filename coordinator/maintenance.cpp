#include "coordinator/maintenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "common/allow_list.h"
#include "common/coordinator_file.h"
#include "coordinator/server.h"
#include "coordinator/store.h"
#include "coordinator/verify.h"
#include "jobs/client.h"

namespace hivq {

namespace {

namespace fs = std::filesystem;

constexpr auto longest_backup = std::chrono::hours(24);

std::string absolute(const std::string& folder) { return fs::absolute(folder).lexically_normal().string(); }

std::string size_text(uint64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

/// The store of a folder, which is not made where there is none.
Result<Store> open_existing(const std::string& data) {
  std::error_code failed;
  if (!fs::is_directory(data + "/store", failed)) {
    return error("there is no store in {}: name the coordinator's folder with --data", data);
  }
  if (auto endpoint = running_endpoint(data)) {
    return error("the coordinator at {} uses {}: stop it first, or restore a backup elsewhere and look at that",
                 *endpoint, data);
  }
  return Store::open(data);
}

Result<BackedUp> through_coordinator(const std::string& endpoint, const std::string& keys, const KeyOptions& said,
                                     const Backup& wish) {
  ClientOptions options;
  auto credentials = find_credentials(said, endpoint, keys);
  if (!credentials) return credentials.error();
  options.credentials = std::move(*credentials);
  auto client = Client::connect(endpoint, std::move(options));
  if (!client) return client.error();
  auto done = client->try_ask<BackedUp>(wish, longest_backup);
  return done ? std::move(*done) : client->nobody();
}

}  // namespace

Status make_backup(const std::string& data, const std::string& folder, uint64_t keep, const Elsewhere& elsewhere) {
  const std::string target = absolute(folder);
  BackedUp done;
  const auto live = elsewhere.coordinator.empty() ? live_coordinator(data) : std::nullopt;
  if (live || !elsewhere.coordinator.empty()) {
    auto answer = live ? through_coordinator(live->endpoint, live->keys, elsewhere.keys, {target, keep})
                       : through_coordinator(elsewhere.coordinator, "", elsewhere.keys, {target, keep});
    if (!answer) return answer.error();
    done = *answer;
  } else {
    auto store = open_existing(absolute(data));
    if (!store) return store.error();
    auto info = store->backup(target, keep);
    if (!info) return info.error();
    done = {info->number, info->bytes};
  }
  fmt::print("backup {} in {}: {}\nrestore it with: hivq-coordinator restore {} --data NEW-FOLDER --number {}\n",
             done.number, target, size_text(done.bytes), target, done.number);
  return {};
}

Status list_backups(const std::string& folder) {
  auto found = Store::backups(folder);
  if (!found) return found.error();
  for (const auto& backup : *found) {
    const std::time_t seconds = backup.at / 1000;
    fmt::print("{:6}  {:%Y-%m-%d %H:%M:%S}  {:>12}\n", backup.number, fmt::localtime(seconds), size_text(backup.bytes));
  }
  return {};
}

Status restore_backup(const std::string& folder, const std::string& data, uint64_t number) {
  if (auto done = Store::restore(folder, data, number); !done) return done;
  // That the store can be opened is part of the promise.
  auto store = Store::open(data);
  if (!store) return store.error();
  fmt::print("{} holds the store again; check it with: hivq-coordinator verify --data {}\n", data, data);
  return {};
}

Status compact_store(const std::string& data) {
  auto store = open_existing(data);
  if (!store) return store.error();
  auto done = store->compact();
  if (!done) return done.error();
  fmt::print("{}: {} before, {} now\n", data, size_text(done->first), size_text(done->second));
  return {};
}

Result<bool> verify_store(const std::string& data) {
  auto store = open_existing(data);
  if (!store) return store.error();
  auto seen = verify(*store);
  if (!seen) return seen.error();
  fmt::print(
      "{} jobs, {} trials, {} metric points, {} checkpoints in {} chunks of {} in all, {} log lines, {} events, "
      "{} PNGs of pictures\n",
      seen->jobs, seen->trials, seen->points, seen->checkpoints, seen->chunks, size_text(seen->chunk_bytes),
      seen->log_lines, seen->events, seen->pictures);
  for (const auto& finding : seen->findings) {
    fmt::print("{}{}{}\n", finding.what, finding.remedy.empty() ? "" : "; ", finding.remedy);
  }
  if (seen->findings.empty()) fmt::print("all is whole\n");
  return seen->findings.empty();
}

}  // namespace hivq
