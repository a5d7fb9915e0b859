#include "coordinator/sql_service.h"

#include <algorithm>

namespace hivq {

SqlService::SqlService(const Store& store, SqlServiceOptions options) : store_(store), options_(options) {
  options_.limits.stop = &ending_;
  for (size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { run(); });
}

SqlService::~SqlService() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void SqlService::ask(Asked asked) {
  const std::lock_guard lock(mutex_);
  const auto same = [&](const Asked& other) { return other.question.key == asked.question.key; };
  const auto slot = slots_.find(asked.question.key);
  if (std::ranges::any_of(asked_, same) || (slot != slots_.end() && slot->second.working)) return;
  asked_.push_back(std::move(asked));
  changed_.notify_one();
}

std::vector<SqlService::Answered> SqlService::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(answered_, {});
}

bool SqlService::busy() const {
  const std::lock_guard lock(mutex_);
  return !asked_.empty() || working_ > 0 || !answered_.empty();
}

void SqlService::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || !asked_.empty(); });
    if (ending_) return;
    const Asked asked = std::move(asked_.front());
    asked_.pop_front();
    forget_idle();
    Slot& slot = slots_[asked.question.key];
    slot.working = true;
    slot.used = std::chrono::steady_clock::now();
    ++working_;
    lock.unlock();
    Body body = answer(slot, asked.question);
    lock.lock();
    --working_;
    slot.working = false;
    slot.used = std::chrono::steady_clock::now();
    if (std::holds_alternative<Failed>(body)) slots_.erase(asked.question.key);
    answered_.push_back({asked.peer, {asked.request, std::move(body)}});
  }
}

/// By the slot's own thread.
Body SqlService::answer(Slot& slot, const QuerySql& question) {
  if (slot.last && question.batch == slot.last->batch) return *slot.last;
  const bool next = slot.last ? question.batch == slot.last->batch + 1 && !slot.last->end : question.batch == 0;
  if (!next)
    return Failed{"the answer was given up in between, after a long pause or a restart; ask again"};
  if (!slot.cursor) {
    auto opened = SqlCursor::open(store_, question.question, options_.limits);
    if (!opened) return Failed{opened.error().message};
    slot.cursor = std::move(*opened);
  }
  auto rows = slot.cursor->next(options_.batch_bytes);
  if (!rows) return Failed{rows.error().message};
  const bool end = rows->empty();
  slot.last = SqlAnswer{question.batch, slot.cursor->columns(), std::move(*rows), end};
  if (end) slot.cursor.reset();  // the last batch stays, in case its answer is lost
  return *slot.last;
}

void SqlService::forget_idle() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(slots_, [&](const auto& entry) {
    return !entry.second.working && now - entry.second.used > options_.idle;
  });
  while (slots_.size() > options_.cursors) {
    auto oldest = slots_.end();
    for (auto at = slots_.begin(); at != slots_.end(); ++at) {
      if (!at->second.working && (oldest == slots_.end() || at->second.used < oldest->second.used)) oldest = at;
    }
    if (oldest == slots_.end()) return;
    slots_.erase(oldest);
  }
}

}  // namespace hivq
