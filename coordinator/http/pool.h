#pragma once

// The HTTP front's way to the coordinator: clients of its own protocol, one for each question under way, and what was
// answered a moment ago.

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "jobs/client.h"
#include "jobs/views/results.h"

namespace hivq {

/// A job's trials as its pages need them.
struct JobSnapshot {
  JobDetail detail;
  Results results;  // ranked, without losses
};

/// For any thread. Errors of ask(): the coordinator's own sentence; nothing where it does not answer in time.
class ClientPool {
 public:
  /// `ending`: what is asked then has no answer.
  ClientPool(std::string endpoint, std::optional<Credentials> credentials, const std::atomic<bool>& ending)
      : endpoint_(std::move(endpoint)), credentials_(std::move(credentials)), ending_(ending) {}

  /// What this thread asks from now on it asks for this user; empty: for the HTTP side itself.
  static void speak_for(std::string user);

  template <typename Answer>
  std::optional<Result<Answer>> ask(Body question, std::chrono::milliseconds deadline = kPatience) {
    std::unique_ptr<Client> client = take();
    if (!client) return std::nullopt;
    auto answer = client->try_ask<Answer>(std::move(question), deadline);
    give_back(std::move(client));
    return answer;
  }

  /// As old as `kFresh` at most: many pages that look at a large job ask the coordinator for it once.
  std::optional<Result<std::shared_ptr<const JobSnapshot>>> job(JobId id);
  std::optional<Result<std::shared_ptr<const JobList>>> jobs();
  /// After a wish that changes what these show.
  void forget();

  static constexpr std::chrono::milliseconds kPatience{10'000}, kFresh{300};

 private:
  using clock = std::chrono::steady_clock;
  /// One look at the coordinator, shared by all who come while it is fresh.
  template <typename Value>
  struct Kept {
    std::mutex busy;  // held while it is fetched: others wait for it instead of asking too
    std::shared_ptr<const Value> value;
    clock::time_point until;
  };

  template <typename Answer, typename Value, typename Make>
  std::optional<Result<std::shared_ptr<const Value>>> look(Kept<Value>& kept, Body question, Make make);

  std::unique_ptr<Client> take();  // one that asks for this thread's user
  void give_back(std::unique_ptr<Client> client);

  const std::string endpoint_;
  const std::optional<Credentials> credentials_;
  const std::atomic<bool>& ending_;
  std::mutex mutex_;                                                  // guards what follows
  std::map<std::string, std::vector<std::unique_ptr<Client>>> idle_;  // by the user for whom they ask
  std::map<JobId, std::shared_ptr<Kept<JobSnapshot>>> kept_;
  std::shared_ptr<Kept<JobList>> list_ = std::make_shared<Kept<JobList>>();
};

}  // namespace hivq
