#include "worker/train/checkpoint_writer.h"

#include <utility>

namespace hivq {

CheckpointWriter::CheckpointWriter() : thread_([this] { run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::write(TrainingSnapshot snapshot, const Sink& sink) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !waiting_; });
  waiting_.emplace(Work{std::move(snapshot), sink});
  changed_.notify_all();
}

void CheckpointWriter::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !waiting_ && !busy_; });
}

void CheckpointWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return waiting_ || ending_; });
    if (!waiting_) return;
    const Work work = std::move(*waiting_);
    waiting_.reset();
    busy_ = true;
    changed_.notify_all();
    lock.unlock();
    work.sink(work.snapshot.step, write_checkpoint(work.snapshot));
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace hivq
