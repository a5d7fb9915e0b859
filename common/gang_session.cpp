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

GangSession::GangSession(Hello hello, SessionOptions options)
    : hello_(std::move(hello)), options_(options), window_(options.window_bytes) {
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

std::vector<Assignment> GangSession::take_assignments() { return std::exchange(ready_, {}); }

void GangSession::set_progress(const Lease& lease, int64_t step, int64_t total_steps, std::string phase) {
  auto found = streams_.find(lease);
  if (found != streams_.end()) found->second.progress = {lease, step, total_steps, std::move(phase)};
}

void GangSession::tick(Millis now) {
  if (last_heard_ == 0) last_heard_ = now;
  if (now - last_heartbeat_ >= options_.heartbeat) {
    last_heartbeat_ = now;
    if (!welcomed_) send(hello_);
    Heartbeat beat{hello_.gang, {}};
    for (const auto& [lease, stream] : streams_) beat.trials.push_back(stream.progress);
    send(std::move(beat));
  }
  if (!parts_.empty() && now - last_fetch_ >= options_.resend) fetch(now);
  for (auto& [lease, stream] : streams_) {
    if (stream.pending.empty() || now - stream.last_progress < stream.resend_after) continue;
    stream.resend_after = std::min(2 * stream.resend_after, options_.slowest_resend);
    send_again(stream, now);
  }
  send_items();
}

void GangSession::on(const HelloAgain&, Millis) { send(hello_); }

void GangSession::on(const Heard& heard, Millis) {
  take_credit(heard.credit);
  send_items();
}

void GangSession::take_credit(uint64_t credit) {
  window_ = credit == 0 ? options_.window_bytes : std::min<size_t>(options_.window_bytes, credit);
}

void GangSession::on(const Welcome& welcome, Millis now) {
  welcomed_ = true;
  takes_pictures_ = welcome.pictures;
  take_credit(welcome.credit);
  // A coordinator that has just come back has lost what was on its way.
  for (auto& [lease, stream] : streams_) send_again(stream, now);
  send_items();
}

void GangSession::on(const Assign& assign, Millis now) {
  if (assign.parts.empty()) return;
  // Epochs only grow, over all trials: one that is not newer was seen before, and a newer one means that the
  // coordinator has the whole of the older leases, or has ended them.
  const uint64_t epoch = assign.parts.front().lease.epoch;
  if (epoch <= epoch_ || epoch < hello_.epoch) return;
  epoch_ = hello_.epoch = epoch;
  if (busy()) refusal_ = "the coordinator gave the gang other trials";
  while (busy()) drop(Lease(streams_.begin()->first));
  for (const Part& part : assign.parts) {
    if (refused_.contains(part.lease)) continue;
    Stream& stream = streams_[part.lease];
    stream.progress.lease = part.lease;
    stream.resend_after = options_.resend;
    parts_.push_back(part);
  }
  refused_.clear();
  fetch(now);
}

/// Asks for the chunks that are missing, a window at a time; with all of them here the pack can begin.
void GangSession::fetch(Millis now) {
  last_fetch_ = now;
  asked_.clear();
  if (epoch_ <= yield_epoch_) return give_back(now);
  for (const Part& part : parts_) {
    for (const auto& hash : part.checkpoint.chunks) {
      if (chunks_.contains(hash) || asked_.size() == fetch_window) continue;
      if (asked_.insert(hash).second) send(FetchChunk{hash});
    }
  }
  if (asked_.empty()) begin(now);
}

void GangSession::begin(Millis now) {
  const auto chunks = std::exchange(chunks_, {});
  for (const Part& part : std::exchange(parts_, {})) {
    Assignment assignment{part.lease, part.spec, {}, -1, part.warm};
    for (const auto& hash : part.checkpoint.chunks) assignment.checkpoint += chunks.at(hash);
    if (!part.checkpoint.chunks.empty()) assignment.checkpoint_step = part.checkpoint.step;
    if (assignment.checkpoint.size() == part.checkpoint.size) {
      ready_.push_back(std::move(assignment));
    } else {
      fail_part(part.lease,
                fmt::format("the checkpoint of the trial is damaged: it has {} bytes instead of {}",
                            assignment.checkpoint.size(), part.checkpoint.size),
                now);
    }
  }
}

/// What has not begun is given back as it is.
void GangSession::give_back(Millis now) {
  for (const Assignment& assignment : std::exchange(ready_, {})) report(assignment.lease, YieldItem{}, now);
  while (!parts_.empty()) {
    report(parts_.front().lease, YieldItem{}, now);
    forget_part(Lease(parts_.front().lease));
  }
}

void GangSession::fail_part(const Lease& lease, const std::string& reason, Millis now) {
  forget_part(lease);
  report(lease, EndItem{true, reason, {}}, now);
}

void GangSession::forget_part(const Lease& lease) {
  std::erase_if(parts_, [&](const Part& part) { return part.lease == lease; });
  if (!parts_.empty()) return;
  chunks_.clear();
  asked_.clear();
}

void GangSession::on(const Chunk& chunk, Millis now) {
  if (!asked_.contains(chunk.hash)) return;
  if (!chunk.error.empty()) {
    for (std::vector<Part> parts = parts_; const Part& part : parts) {
      if (std::ranges::count(part.checkpoint.chunks, chunk.hash) == 0) continue;
      fail_part(part.lease, "the checkpoint of the trial cannot be read: " + chunk.error, now);
    }
  } else if (sha256_hex(chunk.bytes) == chunk.hash) {
    chunks_[chunk.hash] = chunk.bytes;
  } else {
    return;  // damaged on its way: it is asked for again
  }
  asked_.erase(chunk.hash);
  if (asked_.empty()) fetch(now);
}

void GangSession::on(const Yield& yield, Millis now) {
  yield_epoch_ = std::max(yield_epoch_, yield.epoch);
  if (epoch_ <= yield_epoch_) give_back(now);
}

void GangSession::report(const Lease& lease, Item item, Millis now) {
  auto found = streams_.find(lease);
  if (found == streams_.end() || found->second.ended) return;
  if (std::holds_alternative<PictureItem>(item) && !takes_pictures_) return;
  Stream& stream = found->second;
  stream.ended = std::holds_alternative<EndItem>(item) || std::holds_alternative<YieldItem>(item);
  if (auto* line = std::get_if<LogItem>(&item); line && line->text.size() > log_bytes) line->text.resize(log_bytes);
  std::string bytes = pack_item(item);
  if (stream.pending.empty()) stream.last_progress = now;
  pending_bytes_ += bytes.size();
  stream.pending.push_back(std::move(bytes));
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

/// From the first item that is not acknowledged.
void GangSession::send_again(Stream& stream, Millis now) {
  in_flight_ -= std::exchange(stream.in_flight, 0);
  stream.next_send = stream.first;
  stream.last_progress = now;
}

/// The streams take turns, a report each, while the window has room.
void GangSession::send_items() {
  const auto unsent = [](const auto& entry) { return entry.second.has_unsent(); };
  while (true) {
    auto next = std::find_if(streams_.upper_bound(turn_), streams_.end(), unsent);
    if (next == streams_.end()) next = std::find_if(streams_.begin(), streams_.end(), unsent);
    if (next == streams_.end()) return;
    const Stream& stream = next->second;
    if (!has_room(stream.pending[stream.next_send - stream.first].size())) return;
    turn_ = next->first;
    send_report(next->first, next->second);
  }
}

void GangSession::send_report(const Lease& lease, Stream& stream) {
  Report report{hello_.gang, lease, stream.next_send, {}};
  size_t bytes = 0;
  for (; stream.has_unsent(); ++stream.next_send) {
    const std::string& item = stream.pending[stream.next_send - stream.first];
    if (bytes != 0 && (bytes + item.size() > batch_bytes || !has_room(bytes + item.size()))) break;
    bytes += item.size();
    report.items.push_back(item);
  }
  stream.in_flight += bytes;
  in_flight_ += bytes;
  send(std::move(report));
}

void GangSession::on(const Ack& ack, Millis now) {
  auto found = streams_.find(ack.lease);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  while (stream.first <= ack.last && !stream.pending.empty()) {
    size_t bytes = stream.pending.front().size();
    stream.pending.pop_front();
    pending_bytes_ -= bytes;
    if (stream.first < stream.next_send) {
      stream.in_flight -= bytes;
      in_flight_ -= bytes;
    }
    ++stream.first;
    stream.last_progress = now;
    stream.resend_after = options_.resend;
  }
  stream.next_send = std::max(stream.next_send, stream.first);
  if (stream.pending.empty() && stream.ended) drop(ack.lease);
  send_items();
}

void GangSession::on(const Refused& refused, Millis now) {
  // It may overtake the Assign that it is about.
  if (refused.lease.epoch > epoch_) refused_.insert(refused.lease);
  hello_.epoch = std::max(hello_.epoch, refused.lease.epoch);
  if (!holds(refused.lease)) return;
  refusal_ = refused.reason;
  drop(refused.lease);
  if (!parts_.empty()) fetch(now);
}

void GangSession::on(const Leave&, Millis) { leaving_ = true; }

void GangSession::drop(const Lease& lease) {
  auto node = streams_.extract(lease);
  if (node.empty()) return;
  for (const auto& item : node.mapped().pending) pending_bytes_ -= item.size();
  in_flight_ -= node.mapped().in_flight;
  forget_part(lease);
  std::erase_if(ready_, [&](const Assignment& assignment) { return assignment.lease == lease; });
}

}  // namespace hivq
