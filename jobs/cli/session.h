#pragma once

// A command's connection to its coordinator: which one it is, and what to do when it falls silent.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "jobs/cli/local_coordinator.h"
#include "jobs/client.h"

namespace hivq::cli {

/// Where the user says that the coordinator is.
struct Where {
  std::string coordinator;     // endpoint; empty: the one of the data folder
  std::string data = ".hivq";  // folder
  KeyOptions keys = {};

  /// What repeats it on a command line: ` --data D`; empty for the default.
  std::string flags() const;
};

class Session {
 public:
  /// For commands that need what is stored: the coordinator that is named, else the live one of the data folder, else
  /// one started on its store for as long as the session lives, else one at the default port. Errors: none of these is
  /// there.
  static Result<Session> for_reading(const Where& where);
  /// The same, but none is started: for commands that need gangs to go on.
  static Result<Session> for_work(const Where& where);
  /// The embedded default: the live one of the data folder, or a child that may launch gangs, started again when it
  /// dies.
  static Result<Session> embedded(const LocalOptions& options);

  Client& client() { return *client_; }
  /// The coordinator is our child and ends with the session.
  bool ours() const { return local_ && local_->ours(); }
  const std::string& endpoint() const { return client_->endpoint(); }

  /// After a question without an answer: waits, connects again or starts the coordinator again, and tells so with
  /// `say`. Errors: it cannot be started, has died too often without progress, or has been silent for too long.
  Status revive(const std::function<void(const std::string&)>& say);
  /// The coordinator has answered; with `progress`, what went wrong before does not count any more.
  void answered(bool progress);
  /// Ends the coordinator in order if it is ours.
  void stop();

 private:
  static Result<Session> find(const Where& where, bool may_start);
  /// `keys`: the coordinator's folder of them, where it is on this machine.
  Status connect(const std::string& endpoint, const std::string& keys = "");
  Status restart(const std::function<void(const std::string&)>& say);

  std::string data_;  // empty: the coordinator was named, or is at the default port
  KeyOptions keys_;
  std::optional<LocalOptions> restart_with_;
  std::unique_ptr<LocalCoordinator> local_;
  std::optional<Client> client_;
  int restarts_ = 0;  // in a row, without progress
  std::optional<std::chrono::steady_clock::time_point> silent_since_;
  bool told_ = false;
};

}  // namespace hivq::cli
