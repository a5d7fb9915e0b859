#include "jobs/cli/session.h"

#include <thread>

#include "common/allow_list.h"
#include "jobs/cli/interrupt.h"
#include "jobs/views/format.h"

namespace hivq::cli {

namespace {

using namespace std::chrono_literals;

constexpr const char* default_endpoint = "tcp://127.0.0.1:4487";
constexpr auto probe_time = 1000ms;     // for a coordinator that may not be there
constexpr int most_restarts = 5;        // in a row, without progress
constexpr auto longest_silence = 300s;  // of a coordinator that is not ours

void pause(std::chrono::milliseconds time) {
  for (auto end = std::chrono::steady_clock::now() + time;
       std::chrono::steady_clock::now() < end && interrupted() == 0;) {
    std::this_thread::sleep_for(50ms);
  }
}

}  // namespace

std::string Where::flags() const {
  const std::string key = keys.key.empty() ? "" : " --key " + shell_word(keys.key);
  if (!coordinator.empty()) return " --coordinator " + shell_word(coordinator) + key;
  return (data == Where{}.data ? "" : " --data " + shell_word(data)) + key;
}

Status Session::connect(const std::string& endpoint, const std::string& keys) {
  ClientOptions options;
  auto credentials = find_credentials(keys_, endpoint, keys);
  if (!credentials) return credentials.error();
  options.credentials = std::move(*credentials);
  // A local coordinator that has died will not answer any more.
  std::optional<ProcessId> process;
  if (local_) process = local_->address().process;
  options.interrupted = [process] { return interrupted() != 0 || (process && !alive(*process)); };
  auto client = Client::connect(endpoint, std::move(options));
  if (!client) return client.error();
  client_.emplace(std::move(*client));
  return {};
}

Result<Session> Session::find(const Where& where, bool may_start) {
  Session session;
  session.keys_ = where.keys;
  if (!where.coordinator.empty()) {
    if (auto connected = session.connect(where.coordinator); !connected) return connected.error();
    return session;
  }
  const bool live = live_coordinator(where.data).has_value();
  if (live || (may_start && has_store(where.data))) {
    auto local = LocalCoordinator::open({where.data, 0, 1});
    if (!local) return local.error();
    session.data_ = where.data;
    session.local_ = std::make_unique<LocalCoordinator>(std::move(*local));
    if (auto connected = session.connect(session.local_->address().endpoint, session.local_->address().keys);
        !connected)
      return connected.error();
    return session;
  }
  // A key that knows its coordinator is the way to it.
  for (auto key : {said_key(where.keys), users_key()}) {
    if (!key) return key.error();
    if (!*key || (*key)->coordinator.empty()) continue;
    if (auto connected = session.connect((*key)->coordinator); !connected) return connected.error();
    return session;
  }
  if (auto connected = session.connect(default_endpoint); !connected) return connected.error();
  if (!session.client().try_ask<GangList>(QueryGangs{}, probe_time)) {
    if (interrupted() != 0) return error("interrupted");
    if (has_store(where.data)) {
      return error(
          "no coordinator serves {} now: `hivq run --resume JOB{}` goes on with a stored job, or start one with "
          "hivq-coordinator --data {}",
          where.data, where.flags(), shell_word(where.data));
    }
    return error(
        "there is no data in {}, and no coordinator answers at {}: run a job first (hivq run SPEC), name the "
        "folder with --data DIR, or the coordinator with --coordinator tcp://HOST:PORT",
        where.data, default_endpoint);
  }
  return session;
}

Result<Session> Session::for_reading(const Where& where) { return find(where, true); }
Result<Session> Session::for_work(const Where& where) { return find(where, false); }

Result<Session> Session::embedded(const LocalOptions& options) {
  auto local = LocalCoordinator::open(options);
  if (!local) return local.error();
  Session session;
  session.data_ = options.data;
  session.restart_with_ = options;
  session.local_ = std::make_unique<LocalCoordinator>(std::move(*local));
  if (auto connected = session.connect(session.local_->address().endpoint, session.local_->address().keys); !connected)
    return connected.error();
  return session;
}

Status Session::revive(const std::function<void(const std::string&)>& say) {
  if (interrupted() != 0) return {};
  auto now = std::chrono::steady_clock::now();
  if (!silent_since_) silent_since_ = now;
  if (local_ && !local_->running()) {
    if (restart_with_) return restart(say);
    if (auto address = live_coordinator(data_)) {
      auto local = LocalCoordinator::open({data_, 0, 1});
      if (!local) return local.error();
      *local_ = std::move(*local);
      silent_since_.reset();
      told_ = false;
      return connect(local_->address().endpoint, local_->address().keys);
    }
  }
  if (client_->refused() || now - *silent_since_ > longest_silence) return client_->nobody();
  if (!std::exchange(told_, true))
    say(fmt::format("the coordinator at {} does not answer; waiting for it", endpoint()));
  pause(500ms);
  return {};
}

Status Session::restart(const std::function<void(const std::string&)>& say) {
  std::string how = "has ended";
  if (local_->ours()) {
    if (auto exit = try_wait(local_->address().process)) how = "ended with " + exit->text;
  }
  if (++restarts_ > most_restarts) {
    return error("the coordinator {} {} times in a row; see {}/coordinator.log", how, restarts_, data_);
  }
  say(fmt::format("the coordinator {}; starting it again on {}", how, data_));
  pause(std::chrono::seconds(restarts_ - 1));
  auto local = LocalCoordinator::open(*restart_with_);
  if (!local) return local.error();
  *local_ = std::move(*local);
  silent_since_.reset();
  return connect(local_->address().endpoint, local_->address().keys);
}

void Session::answered(bool progress) {
  if (progress) restarts_ = 0;
  silent_since_.reset();
  told_ = false;
}

void Session::stop() {
  if (local_) local_->stop();
}

}  // namespace hivq::cli
