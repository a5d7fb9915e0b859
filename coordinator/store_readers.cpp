#include "coordinator/store_readers.h"

#include "coordinator/queries.h"

namespace hivq {

StoreReaders::StoreReaders(const Store& store, size_t threads) : store_(store) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

StoreReaders::~StoreReaders() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void StoreReaders::ask(std::string peer, Message question) {
  const std::lock_guard lock(mutex_);
  if (!under_way_.emplace(peer, question.id).second) return;
  asked_.emplace_back(std::move(peer), std::move(question));
  changed_.notify_one();
}

std::vector<StoreReaders::Answered> StoreReaders::take() {
  const std::lock_guard lock(mutex_);
  for (const Answered& answered : answered_) under_way_.erase({answered.peer, answered.request});
  return std::exchange(answered_, {});
}

bool StoreReaders::busy() const {
  const std::lock_guard lock(mutex_);
  return !under_way_.empty();
}

void StoreReaders::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || !asked_.empty(); });
    if (ending_) return;
    auto [peer, question] = std::move(asked_.front());
    asked_.pop_front();
    lock.unlock();
    std::string bytes = encode({question.id, answer(question.body, store_)});
    lock.lock();
    answered_.push_back({std::move(peer), question.id, std::move(bytes)});
  }
}

}  // namespace hivq
