#include "coordinator/http/pool.h"

#include "common/clock.h"

namespace hivq {

namespace {

constexpr size_t kMostIdle = 256;  // of a user
constexpr size_t kMostUsers = 64;  // with idle clients
constexpr size_t kMostJobs = 64;   // whose trials are kept

// An HTTP request is answered by one thread from its headers to the end of its answer.
thread_local std::string speaking_for;

}  // namespace

void ClientPool::speak_for(std::string user) { speaking_for = std::move(user); }

std::unique_ptr<Client> ClientPool::take() {
  {
    const std::lock_guard lock(mutex_);
    const auto idle = idle_.find(speaking_for);
    if (idle != idle_.end() && !idle->second.empty()) {
      auto client = std::move(idle->second.back());
      idle->second.pop_back();
      return client;
    }
  }
  ClientOptions options;
  options.credentials = credentials_;
  options.behalf = speaking_for;
  options.interrupted = [this] { return ending_.load(); };
  auto client = Client::connect(endpoint_, options);
  return client ? std::make_unique<Client>(std::move(*client)) : nullptr;
}

void ClientPool::give_back(std::unique_ptr<Client> client) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() >= kMostUsers && !idle_.contains(speaking_for)) idle_.clear();
  auto& idle = idle_[speaking_for];
  if (idle.size() < kMostIdle) idle.push_back(std::move(client));
}

template <typename Answer, typename Value, typename Make>
std::optional<Result<std::shared_ptr<const Value>>> ClientPool::look(Kept<Value>& kept, Body question, Make make) {
  const std::lock_guard lock(kept.busy);
  if (kept.value && clock::now() < kept.until) return kept.value;
  auto answer = ask<Answer>(std::move(question));
  if (!answer) return std::nullopt;
  if (!*answer) return Result<std::shared_ptr<const Value>>(answer->error());
  kept.value = std::make_shared<const Value>(make(std::move(**answer)));
  kept.until = clock::now() + kFresh;
  return kept.value;
}

std::optional<Result<std::shared_ptr<const JobSnapshot>>> ClientPool::job(JobId id) {
  std::shared_ptr<Kept<JobSnapshot>> kept;
  {
    const std::lock_guard lock(mutex_);
    if (kept_.size() >= kMostJobs && !kept_.contains(id)) kept_.clear();
    auto& place = kept_[id];
    if (!place) place = std::make_shared<Kept<JobSnapshot>>();
    kept = place;
  }
  return look<JobDetail>(*kept, ShowJob{id}, [](JobDetail detail) {
    Results results = make_results(detail, {}, wall_clock());
    return JobSnapshot{std::move(detail), std::move(results)};
  });
}

std::optional<Result<std::shared_ptr<const JobList>>> ClientPool::jobs() {
  std::shared_ptr<Kept<JobList>> kept;
  {
    const std::lock_guard lock(mutex_);
    kept = list_;
  }
  return look<JobList>(*kept, ListJobs{}, [](JobList list) { return list; });
}

void ClientPool::forget() {
  const std::lock_guard lock(mutex_);
  kept_.clear();
  list_ = std::make_shared<Kept<JobList>>();
}

}  // namespace hivq
