#include "common/gang_session.h"

#include <algorithm>
#include <utility>

#include "common/sha256.h"

namespace hivq {

namespace {
constexpr size_t log_bytes = 64 << 10;   // of one line of the log
constexpr size_t batch_bytes = 1 << 20;  // of items in one Report; a larger item travels alone
constexpr size_t fetch_window = 4;       // chunks asked for at once
}  // namespace

GangSession::GangSession(Hello hello, SessionOptions options) : hello_(std::move(hello)), options_(options) {
  resend_after_ = options_.resend;
  send(hello_);
}

void GangSession::send(Body body) {
  if (!gone_) outgoing_.push_back({0, std::move(body)});
}

void GangSession::goodbye(const std::string& reason) {
  send(Goodbye{hello_.gang, reason});
  gone_ = true;
}

void GangSession::receive(const Message& message, Millis now) {
  last_heard_ = now;
  std::visit([&](const auto& body) { on(body, now); }, message.body);
}

std::vector<Message> GangSession::take_outgoing() { return std::exchange(outgoing_, {}); }

std::optional<Assignment> GangSession::take_assignment() { return std::exchange(ready_, std::nullopt); }

void GangSession::set_progress(int64_t step, int64_t total_steps, std::string phase) {
  progress_.step = step;
  progress_.total_steps = total_steps;
  progress_.phase = std::move(phase);
}

void GangSession::tick(Millis now) {
  if (last_heard_ == 0) last_heard_ = now;
  if (now - last_heartbeat_ >= options_.heartbeat) {
    last_heartbeat_ = now;
    if (!welcomed_) send(hello_);
    Heartbeat beat = progress_;
    beat.gang = hello_.gang;
    beat.lease = lease_.value_or(Lease{});
    send(std::move(beat));
  }
  if (assign_) {
    if (now - last_fetch_ >= options_.resend) fetch(now);
  } else if (!pending_.empty()) {
    if (now - last_progress_ >= resend_after_) {
      resend_after_ = std::min(2 * resend_after_, options_.slowest_resend);
      send_again(now);
    } else {
      send_items();
    }
  }
}

void GangSession::on(const HelloAgain&, Millis) { send(hello_); }

void GangSession::on(const Welcome&, Millis now) {
  welcomed_ = true;
  // A coordinator that has just come back has lost what was on its way.
  send_again(now);
}

void GangSession::on(const Assign& assign, Millis now) {
  // Epochs only grow, over all trials: one that is not newer was seen before, and a newer one means that the
  // coordinator has the whole of the older lease, or has ended it.
  if (assign.lease.epoch <= hello_.epoch) return;
  if (lease_) refusal_ = "the coordinator gave the gang another trial";
  drop_lease();
  lease_ = assign.lease;
  hello_.epoch = assign.lease.epoch;
  ended_ = false;
  first_ = next_send_ = 1;
  last_progress_ = now;
  resend_after_ = options_.resend;
  assign_ = assign;
  fetch(now);
}

/// Asks for the chunks that are missing, a window at a time; with all of them here the trial can begin.
void GangSession::fetch(Millis now) {
  last_fetch_ = now;
  asked_.clear();
  if (assign_->resume) {
    for (const auto& hash : assign_->checkpoint.chunks) {
      if (chunks_.contains(hash) || asked_.size() == fetch_window) continue;
      if (asked_.insert(hash).second) send(FetchChunk{hash});
    }
  }
  if (asked_.empty()) begin(*std::exchange(assign_, std::nullopt), now);
}

void GangSession::begin(const Assign& assign, Millis now) {
  Assignment assignment{assign.lease, assign.spec, {}, -1};
  auto chunks = std::exchange(chunks_, {});
  if (assign.resume) {
    for (const auto& hash : assign.checkpoint.chunks) assignment.checkpoint += chunks[hash];
    assignment.checkpoint_step = assign.checkpoint.step;
    if (assignment.checkpoint.size() != assign.checkpoint.size) {
      return report(assign.lease,
                    EndItem{true,
                            fmt::format("the checkpoint of the trial is damaged: it has {} bytes instead of {}",
                                        assignment.checkpoint.size(), assign.checkpoint.size),
                            {}},
                    now);
    }
  }
  ready_ = std::move(assignment);
}

void GangSession::on(const Chunk& chunk, Millis now) {
  if (!assign_ || !asked_.contains(chunk.hash)) return;
  if (!chunk.error.empty()) {
    Lease lease = assign_->lease;
    assign_.reset();
    chunks_.clear();
    return report(lease, EndItem{true, "the checkpoint of the trial cannot be read: " + chunk.error, {}}, now);
  }
  if (sha256_hex(chunk.bytes) != chunk.hash) return;  // damaged on its way: it is asked for again
  chunks_[chunk.hash] = chunk.bytes;
  asked_.erase(chunk.hash);
  if (asked_.empty()) fetch(now);
}

void GangSession::report(const Lease& lease, Item item, Millis now) {
  if (!holds(lease) || ended_) return;
  ended_ = std::holds_alternative<EndItem>(item);
  if (auto* line = std::get_if<LogItem>(&item); line && line->text.size() > log_bytes) line->text.resize(log_bytes);
  std::string bytes = pack_item(item);
  if (pending_.empty()) last_progress_ = now;
  pending_bytes_ += bytes.size();
  pending_.push_back(std::move(bytes));
}

void GangSession::report_checkpoint(const Lease& lease, int64_t step, std::string_view bytes, Millis now) {
  CheckpointItem manifest{step, bytes.size(), {}};
  for (size_t at = 0; at < bytes.size(); at += chunk_bytes) {
    std::string part(bytes.substr(at, chunk_bytes));
    manifest.chunks.push_back(sha256_hex(part));
    report(lease, ChunkItem{manifest.chunks.back(), std::move(part)}, now);
  }
  report(lease, std::move(manifest), now);
}

void GangSession::send_again(Millis now) {
  next_send_ = first_;
  in_flight_ = 0;
  last_progress_ = now;
  send_items();
}

void GangSession::send_items() {
  if (!lease_ || assign_) return;
  uint64_t end = first_ + pending_.size();
  while (next_send_ < end && in_flight_ < options_.window_bytes) {
    Report report{hello_.gang, *lease_, next_send_, {}};
    size_t bytes = 0;
    for (; next_send_ < end; ++next_send_) {
      const std::string& item = pending_[next_send_ - first_];
      if (bytes != 0 && bytes + item.size() > batch_bytes) break;
      bytes += item.size();
      report.items.push_back(item);
    }
    in_flight_ += bytes;
    send(std::move(report));
  }
}

void GangSession::on(const Ack& ack, Millis now) {
  if (!holds(ack.lease)) return;
  while (first_ <= ack.last && !pending_.empty()) {
    size_t bytes = pending_.front().size();
    pending_.pop_front();
    pending_bytes_ -= bytes;
    if (first_ < next_send_) in_flight_ -= bytes;
    ++first_;
    last_progress_ = now;
    resend_after_ = options_.resend;
  }
  next_send_ = std::max(next_send_, first_);
  if (pending_.empty() && ended_) {
    drop_lease();
  } else {
    send_items();
  }
}

void GangSession::on(const Refused& refused, Millis) {
  // It may overtake the Assign that it is about.
  hello_.epoch = std::max(hello_.epoch, refused.lease.epoch);
  if (!holds(refused.lease)) return;
  refusal_ = refused.reason;
  drop_lease();
}

void GangSession::on(const Leave&, Millis) { leaving_ = true; }

void GangSession::drop_lease() {
  lease_.reset();
  assign_.reset();
  ready_.reset();
  chunks_.clear();
  asked_.clear();
  pending_.clear();
  pending_bytes_ = in_flight_ = 0;
  progress_ = {};
}

}  // namespace hivq
