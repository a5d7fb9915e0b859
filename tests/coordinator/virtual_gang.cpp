#include "tests/coordinator/virtual_gang.h"

#include "common/sha256.h"

namespace hivq {

namespace {

// A number that looks random, of the script's seed and a text. (splitmix64 over FNV-1a.)
uint64_t mix(uint64_t seed, std::string_view text) {
  uint64_t hash = 14695981039346656037u ^ seed;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace

int64_t Script::steps(const TrialId& trial) const {
  return 4 + static_cast<int64_t>(mix(seed, "steps " + to_string(trial)) % 12);
}

bool Script::fails(const TrialId& trial) const { return mix(seed, "fails " + to_string(trial)) % 8 == 0; }

double Script::value(const TrialId& trial, std::string_view metric, int64_t step) const {
  return static_cast<double>(mix(seed, fmt::format("{} {} {}", to_string(trial), metric, step)) % 1000) / 1000;
}

MetricsItem Script::metrics(const TrialId& trial, int64_t step) const {
  MetricsItem item{step, {{"loss", value(trial, "loss", step)}}};
  if (step % 2 == 0 || step == steps(trial)) item.values["auroc"] = value(trial, "auroc", step);
  return item;
}

std::vector<std::string> Script::checkpoint(const TrialId& trial, int64_t step) const {
  std::vector<std::string> chunks{fmt::format("weights that all trials of job {} start from", trial.job)};
  // Some have a chunk twice, and some many chunks.
  for (int64_t i = 0; i < 1 + step % 7; ++i)
    chunks.push_back(fmt::format("trial {} step {} part {}", to_string(trial), step, i / 2));
  return chunks;
}

VirtualGang::VirtualGang(Hello hello, const Script& script, Millis step_time, Streams& streams, bool never_ends)
    : hello_(std::move(hello)),
      script_(script),
      streams_(streams),
      step_time_(step_time),
      never_ends_(never_ends),
      session_(hello_) {}

void VirtualGang::tick(Millis now) {
  if (auto assignment = session_.take_assignment()) begin(*assignment);
  if (lease_ && !session_.holds(*lease_)) lease_.reset();
  if (lease_ && now >= next_step_) {
    next_step_ = now + step_time_;
    train(now);
  }
  session_.tick(now);
}

void VirtualGang::begin(const Assignment& assignment) {
  lease_ = assignment.lease;
  ended_ = false;
  step_ = assignment.checkpoint_step;
  std::string expected;
  if (step_ >= 0) {
    for (const auto& chunk : script_.checkpoint(lease_->trial, step_)) expected += chunk;
  }
  if (assignment.checkpoint != expected) {
    complaint_ =
        fmt::format("trial {} was given a checkpoint of step {} that is not its own", to_string(lease_->trial), step_);
  }
}

void VirtualGang::report(Item item, Millis now) {
  if (!session_.holds(*lease_)) return;
  streams_[*lease_].push_back(item);
  session_.report(*lease_, std::move(item), now);
}

void VirtualGang::train(Millis now) {
  if (ended_) return;  // it waits for the last acknowledgement
  const TrialId trial = lease_->trial;
  const bool fails = script_.fails(trial);
  const int64_t last = fails ? script_.steps(trial) / 2 : script_.steps(trial);
  if (step_ < last) {  // a trial may have been lost between its last checkpoint and its end
    ++step_;
    session_.set_progress(step_, script_.steps(trial), "training");
    report(script_.metrics(trial, step_), now);
    if (step_ == 0) report(LogItem{"it begins"}, now);
    if (script_.checkpoints_at(step_)) report_checkpoint(now);
  }
  if (step_ < last || never_ends_) return;
  ended_ = true;
  report(EndItem{fails, fails ? "its loss is not finite" : "", script_.metrics(trial, step_).values}, now);
}

void VirtualGang::report_checkpoint(Millis now) {
  CheckpointItem manifest{step_, 0, {}};
  for (auto& chunk : script_.checkpoint(lease_->trial, step_)) {
    manifest.chunks.push_back(sha256_hex(chunk));
    manifest.size += chunk.size();
    report(ChunkItem{manifest.chunks.back(), std::move(chunk)}, now);
  }
  report(std::move(manifest), now);
}

}  // namespace hivq
