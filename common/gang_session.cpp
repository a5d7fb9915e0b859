#include "common/gang_session.h"

#include "common/sha256.h"

namespace hivq {

namespace {
constexpr size_t batch_bytes = 1 << 20;  // of items in one Report; a larger item travels alone
constexpr size_t fetch_window = 4;       // chunks asked for at once
}  // namespace

GangSession::GangSession(Hello hello, SessionOptions options) : hello_(std::move(hello)), options_(options) {
  send(hello_);
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
    if (now - last_progress_ >= options_.resend) {
      // Go back to the first item that is not acknowledged.
      next_send_ = first_;
      in_flight_ = 0;
      last_progress_ = now;
    }
    send_items(now);
  }
}

void GangSession::on(const HelloAgain&, Millis) { send(hello_); }

void GangSession::on(const Welcome&, Millis now) {
  welcomed_ = true;
  // A coordinator that has just come back has lost what was on its way.
  next_send_ = first_;
  in_flight_ = 0;
  last_progress_ = now;
  send_items(now);
}

void GangSession::on(const Assign& assign, Millis now) {
  // Epochs only grow, over all trials: this one was seen before.
  if (lease_ || assign.lease.epoch <= newest_epoch_) return;
  drop_lease();
  lease_ = assign.lease;
  newest_epoch_ = assign.lease.epoch;
  refusal_.clear();
  ended_ = false;
  first_ = next_send_ = 1;
  last_progress_ = now;
  progress_ = {};
  assign_ = assign;
  fetch(now);
}

void GangSession::fetch(Millis now) {
  if (!assign_) return;
  last_fetch_ = now;
  const auto& wanted = assign_->checkpoint.chunks;
  size_t asked = 0;
  if (assign_->resume) {
    for (const auto& hash : wanted) {
      if (chunks_.contains(hash)) continue;
      if (asked++ == fetch_window) break;
      send(FetchChunk{hash});
    }
  }
  if (asked != 0) return;
  Assignment assignment{assign_->lease, assign_->spec, {}, -1};
  if (assign_->resume) {
    for (const auto& hash : wanted) assignment.checkpoint += chunks_[hash];
    assignment.checkpoint_step = assign_->checkpoint.step;
  }
  chunks_.clear();
  assign_.reset();
  ready_ = std::move(assignment);
}

void GangSession::on(const Chunk& chunk, Millis now) {
  if (!assign_ || chunks_.contains(chunk.hash)) return;
  const auto& wanted = assign_->checkpoint.chunks;
  if (std::find(wanted.begin(), wanted.end(), chunk.hash) == wanted.end()) return;
  Lease lease = assign_->lease;
  if (!chunk.error.empty() || sha256_hex(chunk.bytes) != chunk.hash) {
    assign_.reset();
    chunks_.clear();
    std::string why = chunk.error.empty() ? "chunk " + chunk.hash + " arrived damaged" : chunk.error;
    report(lease, EndItem{true, "the checkpoint of the trial cannot be read: " + why, {}}, now);
    return;
  }
  chunks_[chunk.hash] = chunk.bytes;
  // Keep the window of requests full without asking twice for what is on its way.
  size_t missing = 0;
  for (const auto& hash : wanted) missing += !chunks_.contains(hash);
  if (missing == 0 || chunks_.size() % fetch_window == 0) fetch(now);
}

void GangSession::report(const Lease& lease, Item item, Millis now) {
  if (!holds(lease) || ended_) return;
  ended_ = std::holds_alternative<EndItem>(item);
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

void GangSession::send_items(Millis) {
  if (!lease_ || assign_) return;
  uint64_t end = first_ + pending_.size();
  while (next_send_ < end && in_flight_ < options_.window_bytes) {
    Report report{hello_.gang, *lease_, next_send_, {}};
    size_t bytes = 0;
    for (; next_send_ < end && (bytes == 0 || bytes + pending_[next_send_ - first_].size() <= batch_bytes); ++next_send_) {
      bytes += pending_[next_send_ - first_].size();
      report.items.push_back(pending_[next_send_ - first_]);
    }
    in_flight_ += bytes;
    send(std::move(report));
  }
}

void GangSession::on(const Ack& ack, Millis now) {
  if (!holds(ack.lease)) return;
  while (first_ <= ack.last && !pending_.empty()) {
    size_t bytes = pending_.front().size();
    pending_bytes_ -= bytes;
    in_flight_ -= std::min(in_flight_, bytes);
    pending_.pop_front();
    ++first_;
    last_progress_ = now;
  }
  next_send_ = std::max(next_send_, first_);
  if (pending_.empty() && ended_) {
    drop_lease();
  } else {
    send_items(now);
  }
}

void GangSession::on(const Refused& refused, Millis) {
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
  pending_.clear();
  pending_bytes_ = in_flight_ = 0;
  progress_ = {};
}

}  // namespace hivq
