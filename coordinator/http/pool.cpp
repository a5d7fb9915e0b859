#include "coordinator/http/pool.h"

#include "common/clock.h"

namespace hivq {

namespace {

constexpr size_t kMostIdle = 256;
constexpr size_t kMostJobs = 64;  // whose trials are kept

}  // namespace

std::unique_ptr<Client> ClientPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto client = std::move(idle_.back());
      idle_.pop_back();
      return client;
    }
  }
  ClientOptions options;
  options.interrupted = [this] { return ending_.load(); };
  auto client = Client::connect(endpoint_, options);
  return client ? std::make_unique<Client>(std::move(*client)) : nullptr;
}

void ClientPool::give_back(std::unique_ptr<Client> client) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(client));
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
