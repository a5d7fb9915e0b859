#include "tests/coordinator/virtual_gang.h"

#include "common/sha256.h"
#include "jobs/spec.h"
#include "tests/common/png_bytes.h"

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
  return (4 + static_cast<int64_t>(mix(seed, "steps " + to_string(trial)) % 12)) * times_longer;
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

PictureItem Script::picture(const TrialId& trial) const {
  const double score = value(trial, "score", 0);
  return {0,
          steps(trial),
          "image.png",
          "class",
          true,
          score,
          png_bytes(2, 2, false, fmt::format("image of job {}", trial.job)),
          png_bytes(2, 2, true, "truth"),
          png_bytes(2, 2, true, fmt::format("map of {}", score))};
}

std::vector<std::string> Script::checkpoint(const TrialId& trial, int64_t step) const {
  std::vector<std::string> chunks{fmt::format("weights that all trials of job {} start from", trial.job)};
  // Some have a chunk twice, and some many chunks.
  for (int64_t i = 0; i < 1 + step % 7; ++i)
    chunks.push_back(fmt::format("trial {} step {} part {}", to_string(trial), step, i / 2));
  return chunks;
}

VirtualGang::VirtualGang(Hello hello, const Script& script, Millis step_time, Streams& streams, Bug bug)
    : hello_(std::move(hello)),
      script_(script),
      streams_(streams),
      step_time_(step_time),
      bug_(bug),
      session_(hello_) {}

/// Before it has spoken.
void VirtualGang::set_labels(const std::map<std::string, std::string>& labels) {
  hello_.labels = labels;
  session_ = GangSession(hello_);
}

void VirtualGang::tick(Millis now) {
  std::erase_if(pack_, [&](const auto& trial) { return !session_.holds(trial.first); });
  for (const auto& assignment : session_.take_assignments()) begin(assignment);
  if (now >= next_step_) {
    next_step_ = now + step_time_;
    for (auto& [lease, training] : pack_) train(lease, training, now);
  }
  session_.tick(now);
}

void VirtualGang::begin(const Assignment& assignment) {
  Training& training = pack_[assignment.lease] = {};
  TrialId source = assignment.lease.trial;
  if (assignment.warm) {
    source = parse_trial_id(parse_trial(assignment.spec, "assigned").value().train.start_from).value();
  } else {
    training.step = assignment.checkpoint_step;
  }
  std::string expected;
  if (assignment.checkpoint_step >= 0) {
    for (const auto& chunk : script_.checkpoint(source, assignment.checkpoint_step)) expected += chunk;
  }
  if (assignment.checkpoint != expected || (assignment.warm && expected.empty())) {
    complaint_ = fmt::format("trial {} was given a checkpoint of step {} that is not that of trial {}",
                             to_string(assignment.lease.trial), assignment.checkpoint_step, to_string(source));
  }
}

std::vector<Message> VirtualGang::take_outgoing() {
  auto messages = session_.take_outgoing();
  for (const auto& message : messages) {
    const auto* report = std::get_if<Report>(&message.body);
    if (report == nullptr) continue;
    auto& stream = streams_[report->lease];
    for (size_t i = 0; i < report->items.size(); ++i) {
      if (report->first + i == stream.size() + 1) stream.push_back(unpack_item(report->items[i]).value());
    }
  }
  return messages;
}

void VirtualGang::train(const Lease& lease, Training& training, Millis now) {
  if (training.ended) return;  // it waits for the last acknowledgement
  if (session_.yields(lease)) return give_back(lease, training, now);
  const TrialId trial = lease.trial;
  const bool fails = script_.fails(trial);
  const int64_t last = fails ? script_.steps(trial) / 2 : script_.steps(trial);
  int64_t& step = training.step;
  if (step < last) {  // a trial may have been lost between its last checkpoint and its end
    ++step;
    session_.set_progress(lease, step, script_.steps(trial), "training");
    session_.report(lease, script_.metrics(bug_ == Bug::mixes_streams ? pack_.begin()->first.trial : trial, step), now);
    if (step == 0) session_.report(lease, LogItem{"it begins"}, now);
    if (script_.checkpoints_at(step)) report_checkpoint(lease, step, now);
  }
  if (step < last || bug_ == Bug::trial_without_end) return;
  training.ended = true;
  if (!fails) session_.report(lease, script_.picture(trial), now);
  session_.report(lease, EndItem{fails, fails ? "its loss is not finite" : "", script_.metrics(trial, step).values},
                  now);
}

void VirtualGang::give_back(const Lease& lease, Training& training, Millis now) {
  training.ended = true;
  if (training.step >= 0 && bug_ != Bug::yields_in_vain) report_checkpoint(lease, training.step, now);
  session_.report(lease, YieldItem{}, now);
}

void VirtualGang::report_checkpoint(const Lease& lease, int64_t step, Millis now) {
  CheckpointItem manifest{step, 0, {}};
  for (auto& chunk : script_.checkpoint(lease.trial, step)) {
    manifest.chunks.push_back(sha256_hex(chunk));
    manifest.size += chunk.size();
    session_.report(lease, ChunkItem{manifest.chunks.back(), std::move(chunk)}, now);
  }
  session_.report(lease, std::move(manifest), now);
}

}  // namespace hivq
