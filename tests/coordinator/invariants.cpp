#include "tests/coordinator/invariants.h"

#include <algorithm>

#include "common/sha256.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"

namespace hivq {

namespace {

template <typename... Args>
[[noreturn]] void violated(fmt::format_string<Args...> format, Args&&... args) {
  throw Violation(fmt::format(format, std::forward<Args>(args)...));
}

template <typename Row, typename Each>
void each(const MapStore& store, Family family, const std::string& prefix, const Each& visit) {
  (void)store.scan(family, prefix, [&](std::string_view key, std::string_view value) {
    visit(key, unpack<Row>(value).value());
    return true;
  });
}

/// The row that was there before; nothing where there was none.
std::optional<CheckpointRow> checkpoint_before(const MapStore& store, const std::string& key) {
  if (!store.rows(Family::checkpoints).contains(key)) return std::nullopt;
  return store.row<CheckpointRow>(Family::checkpoints, key);
}

/// A new checkpoint, not the mark that an old one goes with the last start from it.
bool is_new_checkpoint(const MapStore& ahead, const Write& write) {
  if (write.family != Family::checkpoints || !write.value) return false;
  auto before = checkpoint_before(ahead, write.key);
  return !before || before->manifest.chunks != unpack<CheckpointRow>(*write.value)->manifest.chunks;
}

/// More of a lease's stream is stored than was before.
bool goes_on(const MapStore& ahead, const Write& write) {
  if (write.family != Family::leases || !ahead.rows(Family::leases).contains(write.key)) return false;
  const auto before = ahead.row<LeaseRow>(Family::leases, write.key);
  const auto row = unpack<LeaseRow>(*write.value).value();
  return row.lease == before.lease && row.last > before.last;
}

/// -1: there is none.
int64_t newest_checkpoint(const MapStore& store, const TrialId& trial) {
  auto kept = read_checkpoints(store, trial).value();
  return kept.empty() ? -1 : kept.rbegin()->first;
}

bool has_newer(const MapStore& store, const std::string& key) {
  auto newest = store.last_before(Family::checkpoints, behind(key.substr(0, 16))).value();
  return newest && newest->first > key && newest->first.starts_with(key.substr(0, 16));
}

}  // namespace

void Invariants::after_step(const Input& input, const Effects& step, const Core& core, Millis now) {
  now_ = now;
  data_needs_a_live_lease(input, step);
  if (auto* said = std::get_if<Received>(&input)) {
    if (auto* hello = std::get_if<Hello>(&said->message.body)) labels_[hello->gang] = hello->labels;
  }
  std::vector<Write> rows;
  for (const auto& write : step.writes) {
    if (write.family == Family::jobs || write.family == Family::trials || write.family == Family::leases) {
      rows.push_back(write);
    }
    if (write.family == Family::checkpoints && !write.value) {
      ahead_.commit({&write, 1});
      if (!has_newer(ahead_, write.key)) violated("1: the newest checkpoint of a trial was erased");
    } else if (write.family == Family::checkpoints) {
      ahead_.commit({&write, 1});
    }
    if (!write.value &&
        (write.family == Family::jobs || write.family == Family::trials || write.family == Family::points)) {
      violated("1: a row of '{}' was erased", family_names[static_cast<size_t>(write.family)]);
    }
    if (write.family == Family::gangs && write.key.starts_with(drain_key(""))) {
      const std::string target = write.key.substr(drain_key("").size());
      write.value ? void(drained_.insert(target)) : void(drained_.erase(target));
    }
    if (write.family != Family::leases) continue;
    auto row = unpack<LeaseRow>(*write.value).value();
    if (row.lease.epoch < epochs_[row.lease.trial]) {
      violated("2: trial {} went back to an older epoch", to_string(row.lease.trial));
    }
  }
  for (const auto& write : rows) {
    std::optional<LeaseRow> before;
    if (write.family == Family::leases && ahead_.rows(Family::leases).contains(write.key)) {
      before = ahead_.row<LeaseRow>(Family::leases, write.key);
    }
    ahead_.commit({&write, 1});
    if (write.family == Family::leases) count_leases(unpack<LeaseRow>(*write.value).value(), before, core);
  }
  each_lease_once();
  count_ranks(core);
  within_time(input);
  const auto* received = std::get_if<Received>(&input);
  if (received) {
    if (auto* beat = std::get_if<Heartbeat>(&received->message.body)) {
      if (beat->trials.empty()) {
        idle_.insert(received->identity);
      } else {
        idle_.erase(received->identity);
      }
    }
  }
  std::erase_if(idle_, [&](const auto& id) {
    auto found = core.gangs().find(id);
    return found == core.gangs().end() || !found->second.leases.empty() || found->second.leaving ||
           core.drained(found->second);
  });
  nobody_waits_in_vain(core);
}

const JobSpec& Invariants::spec_of(JobId job) {
  auto [found, fresh] = specs_.try_emplace(job);
  if (fresh) {
    const auto row = ahead_.row<JobRow>(Family::jobs, key_of(job));
    found->second = parse_job(row.yaml, row.name).value();
  }
  return found->second;
}

/// It is paused, or a job that it comes after has not ended.
bool Invariants::held(JobId job) {
  if (paused(job)) return true;
  const auto& after = spec_of(job).after;
  return std::any_of(after.begin(), after.end(), [&](int64_t id) {
    return !ended(ahead_.row<JobRow>(Family::jobs, key_of(static_cast<JobId>(id))).state);
  });
}

/// Its user's and its project's quotas have room for so many ranks more.
bool Invariants::has_room(JobId job, uint64_t ranks) {
  const auto row = ahead_.row<JobRow>(Family::jobs, key_of(job));
  const uint64_t of_user = policy_.of_user(row.user).max_ranks, of_project = policy_.of_project(row.project).max_ranks;
  return (of_user == 0 || user_ranks_[row.user] + ranks <= of_user) &&
         (of_project == 0 || project_ranks_[row.project] + ranks <= of_project);
}

bool Invariants::may_run_on(const TrialRow& row, const GangState& gang) {
  return fits({row.ranks, spec_of(row.id.job).trial.gang.labels}, {gang.hello.ranks, gang.hello.labels}) &&
         has_room(row.id.job, gang.hello.ranks);
}

/// 4: what a gang is given, it may be given. The fleet's own books: what a gang says of itself, not the core.
void Invariants::granted_lawfully(const LeaseRow& row, const Core& core) {
  const TrialId& trial = row.lease.trial;
  if (held(trial.job)) violated("4: trial {} was leased although its job is paused or comes later", to_string(trial));
  if (spec_of(trial.job).study) return;
  const GangState& gang = core.gangs().at(row.gang);
  for (const auto& [key, value] : spec_of(trial.job).trial.gang.labels) {
    auto label = labels_[row.gang].find(key);
    if (label == labels_[row.gang].end() || label->second != value) {
      violated("4: trial {} was leased to gang {}, which does not carry {}={}", to_string(trial), row.gang, key, value);
    }
  }
  if (drained_.contains(row.gang) || drained_.contains("host:" + gang.hello.host)) {
    violated("4: trial {} was leased to gang {}, which is drained", to_string(trial), row.gang);
  }
}

/// 6: quotas are kept.
void Invariants::count_ranks(const Core& core) {
  user_ranks_.clear();
  project_ranks_.clear();
  running_.clear();
  each<LeaseRow>(ahead_, Family::leases, "", [&](auto, const LeaseRow& row) {
    auto gang = core.gangs().find(row.gang);
    if (!row.live || gang == core.gangs().end() || running_.contains(row.gang)) return;
    const auto job = ahead_.row<JobRow>(Family::jobs, key_of(row.lease.trial.job));
    user_ranks_[job.user] += gang->second.hello.ranks;
    project_ranks_[job.project] += gang->second.hello.ranks;
    running_[row.gang] = {job.priority, row.at};
  });
  for (const auto& [user, ranks] : user_ranks_) {
    const uint64_t most = policy_.of_user(user).max_ranks;
    if (most > 0 && ranks > most) violated("6: {} ranks run for user {}, the quota is {}", ranks, user, most);
  }
  for (const auto& [project, ranks] : project_ranks_) {
    const uint64_t most = policy_.of_project(project).max_ranks;
    if (most > 0 && ranks > most) violated("6: {} ranks run for project {}, the quota is {}", ranks, project, most);
  }
}

/// 4: once the time has been looked at, nothing runs beyond its limit.
void Invariants::within_time(const Input& input) {
  if (!std::holds_alternative<Tick>(input)) return;
  each<LeaseRow>(ahead_, Family::leases, "", [&](auto, const LeaseRow& row) {
    const int64_t limit = spec_of(row.lease.trial.job).max_trial_seconds;
    if (!row.live || limit == 0) return;
    const auto trial = ahead_.row<TrialRow>(Family::trials, key_of(row.lease.trial));
    if (trial.ran + now_ - row.at > 1000 * limit) {
      violated("4: trial {} runs beyond its limit of {} s", to_string(row.lease.trial), limit);
    }
  });
}

/// 4: a trial of a job that is held gets no lease. Every lease is an attempt, unless it was given back.
void Invariants::count_leases(const LeaseRow& row, const std::optional<LeaseRow>& before, const Core& core) {
  const TrialId& trial = row.lease.trial;
  const bool granted = !before || before->lease.epoch < row.lease.epoch;
  if (granted) granted_lawfully(row, core);
  if (granted) counting_.push_back({trial, 1});
  const auto stream = streams_.find(row.lease);
  const bool whole = stream != streams_.end() && stream->second.size() == row.last;
  if (row.done && !before->done && whole && std::holds_alternative<YieldItem>(stream->second.back())) {
    counting_.push_back({trial, -1});
  }
}

bool Invariants::paused(JobId job) const {
  return ahead_.rows(Family::jobs).contains(key_of(job)) && ahead_.row<JobRow>(Family::jobs, key_of(job)).paused;
}

/// 2, and half of 1: what changes a trial's data comes from the holder of its newest lease, and each point once.
void Invariants::data_needs_a_live_lease(const Input& input, const Effects& step) {
  const auto* received = std::get_if<Received>(&input);
  const Report* report = received ? std::get_if<Report>(&received->message.body) : nullptr;
  const ReportTrial* told = received ? std::get_if<ReportTrial>(&received->message.body) : nullptr;
  for (const auto& write : step.writes) {
    bool data = write.family == Family::points || write.family == Family::logs ||
                (write.family == Family::pictures && trial_at(write.key).index != shared_index) || is_new_checkpoint(ahead_, write) ||
                (write.family == Family::blobs && write.value) || goes_on(ahead_, write);
    if (!data) continue;
    if (report == nullptr && told == nullptr) violated("2: data was written without a report");
    const Lease& lease = report ? report->lease : told->lease;
    std::string key = key_of(lease.trial);
    if (!ahead_.rows(Family::leases).contains(key)) violated("2: data of a trial without a lease was accepted");
    auto row = ahead_.row<LeaseRow>(Family::leases, key);
    if (!row.live || row.lease != lease || (report && row.gang != received->identity)) {
      violated("2: a report of trial {} with epoch {} was accepted although its lease is epoch {}{}",
               to_string(lease.trial), lease.epoch, row.lease.epoch, row.live ? "" : ", ended");
    }
    if (write.family == Family::blobs || write.family == Family::leases) continue;
    const TrialId& trial = lease.trial;
    if (trial_at(write.key) != trial) violated("1: a report wrote data of another trial");
    if (write.family != Family::points) continue;
    const std::string name(points_name(write.key));
    for (const auto& point : points_of(write.key, *write.value).value()) {
      if (point.value != script_.value(trial, name, point.step)) {
        violated("1: {} of trial {} at step {} has a wrong value", name, to_string(trial), point.step);
      }
      if (points_key(trial, name, point.step) != write.key) {
        violated("1: {} of trial {} at step {} was put into the wrong row", name, to_string(trial), point.step);
      }
      writing_.push_back({lease.epoch, fmt::format("{}/{}@{}", to_string(trial), name, point.step)});
    }
  }
}

/// 2 and 4: a trial runs exactly if it has a live lease; a gang has one pack at most, and no more trials than it may.
void Invariants::each_lease_once() {
  std::map<GangId, std::vector<Lease>> busy;
  std::set<TrialId> leased;
  each<LeaseRow>(ahead_, Family::leases, "", [&](auto, const LeaseRow& row) {
    if (!row.live) return;
    leased.insert(row.lease.trial);
    auto& pack = busy[row.gang];
    pack.push_back(row.lease);
    if (pack.front().epoch != row.lease.epoch || pack.front().trial.job != row.lease.trial.job) {
      violated("4: gang {} has the trials {} and {}, which are no pack", row.gang, to_string(pack.front().trial),
               to_string(row.lease.trial));
    }
    if (pack.size() > ahead_.row<TrialRow>(Family::trials, key_of(row.lease.trial)).fuse) {
      violated("4: gang {} has {} trials at once", row.gang, pack.size());
    }
  });
  each<TrialRow>(ahead_, Family::trials, "", [&](auto, const TrialRow& row) {
    if ((row.state == State::running) != leased.contains(row.id)) {
      violated("2: trial {} is {} but its lease is{} live", to_string(row.id), to_string(row.state),
               leased.contains(row.id) ? "" : " not");
    }
  });
}

/// 4: no trial waits while a gang is idle that it may run on. 7: nor for long while one runs a lower priority.
void Invariants::nobody_waits_in_vain(const Core& core) {
  std::set<TrialId> inverted;
  each<TrialRow>(ahead_, Family::trials, "", [&](auto, const TrialRow& row) {
    if (row.state != State::pending || held(row.id.job) || row.not_before > now_) return;
    for (const auto& id : idle_) {
      if (may_run_on(row, core.gangs().at(id))) {
        violated("4: trial {} waits although gang {} is idle and fits", to_string(row.id), id);
      }
    }
    if (longest_inversion_ == 0) return;
    for (const auto& [id, run] : running_) {
      const auto& [priority, began] = run;
      if (priority >= spec_of(row.id.job).priority || now_ - began < policy_.min_run) continue;
      if (may_run_on(row, core.gangs().at(id))) inverted.insert(row.id);
    }
  });
  std::erase_if(inverted_, [&](const auto& entry) { return !inverted.contains(entry.first); });
  for (const TrialId& id : inverted) {
    const Millis since = inverted_.try_emplace(id, now_).first->second;
    if (now_ - since > longest_inversion_) {
      violated("7: trial {} has waited for {} s while a lower priority runs on a gang that fits", to_string(id),
               (now_ - since) / 1000);
    }
  }
}

void Invariants::after_commit(const MapStore& store) {
  for (auto& point : std::exchange(writing_, {})) {
    if (++written_[point] > 1) violated("1: a metric point was stored twice within one lease");
  }
  for (const auto& [trial, change] : std::exchange(counting_, {})) attempts_[trial] += change;
  chunks_are_there(store);
}

/// 1: every chunk that a checkpoint names is stored, the uses say exactly which are named, and what nobody names goes.
void Invariants::chunks_are_there(const MapStore& store) const {
  std::set<std::string> named, uses;
  each<CheckpointRow>(store, Family::checkpoints, "", [&](std::string_view key, const CheckpointRow& row) {
    for (const auto& chunk : row.manifest.chunks) {
      named.insert(chunk);
      uses.insert(use_key(chunk, trial_at(key), row.manifest.step));
    }
  });
  each<LeaseRow>(store, Family::leases, "", [&](auto, const LeaseRow& lease) {
    for (const auto& chunk : lease.staged) {
      named.insert(chunk);
      uses.insert(use_key(chunk, lease.lease.trial, staged_step));
    }
  });
  const auto& blobs = store.rows(Family::blobs);
  for (const auto& chunk : named) {
    if (!blobs.contains(chunk)) violated("1: a checkpoint names chunk {}, which is not stored", chunk);
  }
  for (const auto& [chunk, bytes] : blobs) {
    if (!named.contains(chunk) && !store.rows(Family::garbage).contains(chunk)) {
      violated("1: nobody names chunk {}, and it is not noted as garbage", chunk);
    }
  }
  const auto& stored = store.rows(Family::uses);
  const bool same = stored.size() == uses.size() && std::equal(stored.begin(), stored.end(), uses.begin(),
                                                               [](const auto& a, const auto& b) { return a.first == b; });
  if (!same) violated("1: {} uses of chunks are stored, but there are {}", stored.size(), uses.size());
}

void Invariants::let_out(const Send& send, const MapStore& store) {
  const Body& body = send.message.body;
  if (auto* ack = std::get_if<Ack>(&body)) acknowledged(*ack, store);
  if (auto* submitted = std::get_if<Submitted>(&body)) {
    if (!store.rows(Family::jobs).contains(key_of(submitted->job)))
      violated("1: a job was acknowledged that is not stored");
    submitted_.insert(submitted->job);
  }
  if (auto* assign = std::get_if<Assign>(&body)) {
    for (const Part& part : assign->parts) {
      const TrialId& trial = part.lease.trial;
      auto& spec = proposals_.try_emplace(trial, part.spec).first->second;
      if (spec != part.spec) violated("3: trial {} was proposed differently before", to_string(trial));
      uint64_t& newest = epochs_[trial];
      if (part.lease.epoch < newest) violated("2: trial {} was leased with an old epoch", to_string(trial));
      newest = part.lease.epoch;
    }
  }
}

void Invariants::acknowledged(const Ack& ack, const MapStore& store) {
  auto stream = streams_.find(ack.lease);
  if (stream == streams_.end()) violated("1: a stream was acknowledged that does not exist");
  if (ack.last > stream->second.size()) violated("1: more was acknowledged than was ever sent");
  uint64_t& known = acknowledged_[ack.lease];
  for (; known < ack.last; ++known) is_stored(ack.lease, stream->second[known], store);
}

void Invariants::is_stored(const Lease& lease, const Item& item, const MapStore& store) const {
  const TrialId& trial = lease.trial;
  if (auto* metrics = std::get_if<MetricsItem>(&item)) {
    for (const auto& [name, value] : metrics->values) {
      const std::string key = points_key(trial, name, metrics->step);
      const auto row = store.rows(Family::points).find(key);
      const auto is_it = [&](const MetricPoint& point) { return point.step == metrics->step; };
      if (row == store.rows(Family::points).end() || std::ranges::none_of(points_of(key, row->second).value(), is_it)) {
        violated("1: {} of trial {} at step {} was acknowledged and is lost", name, to_string(trial), metrics->step);
      }
    }
  } else if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
    if (newest_checkpoint(store, trial) < checkpoint->step) {
      violated("1: the checkpoint of trial {} at step {} was acknowledged and is lost", to_string(trial),
               checkpoint->step);
    }
  } else if (std::holds_alternative<EndItem>(item)) {
    if (!ended(store.row<TrialRow>(Family::trials, key_of(trial)).state)) {
      violated("1: the end of trial {} was acknowledged and is lost", to_string(trial));
    }
  } else if (std::holds_alternative<YieldItem>(item)) {
    is_given_back(lease, store);
  } else if (std::holds_alternative<PictureItem>(item)) {
    is_shown(trial, store);
  }
}

/// The trial's picture, and all PNGs that it names.
void Invariants::is_shown(const TrialId& trial, const MapStore& store) const {
  const PictureItem expected = script_.picture(trial);
  const auto& rows = store.rows(Family::pictures);
  const auto holds = [&](const std::string& key, const std::string& bytes) {
    const auto found = rows.find(key);
    return found != rows.end() && found->second == bytes;
  };
  const std::string key = picture_key(trial, PictureKey::picture, expected.number);
  bool whole = rows.contains(key) && holds(picture_key(trial, PictureKey::map, expected.number), expected.map);
  for (const std::string& png : {expected.image, expected.truth}) {
    whole = whole && holds(shared_picture_key(trial.job, sha256_hex(png)), png);
  }
  if (!whole || store.row<PictureView>(Family::pictures, key).score != expected.score) {
    violated("1: the picture of trial {} was acknowledged and is lost", to_string(trial));
  }
}

/// Nothing that was done under the lease is lost: a checkpoint of the last step is there.
void Invariants::is_given_back(const Lease& lease, const MapStore& store) const {
  int64_t last = -1, stored = -1;
  for (const Item& item : streams_.at(lease)) {
    if (auto* metrics = std::get_if<MetricsItem>(&item)) last = std::max(last, metrics->step);
  }
  const std::string key = key_of(lease.trial);
  stored = newest_checkpoint(store, lease.trial);
  if (stored < last) {
    violated("1: trial {} was given back at step {}, but its checkpoint is of step {}", to_string(lease.trial), last,
             stored);
  }
  auto newest = store.row<LeaseRow>(Family::leases, key);
  if (newest.lease == lease && newest.live) {
    violated("2: trial {} was given back and is still leased", to_string(lease.trial));
  }
}

void Invariants::after_start(const MapStore& store) {
  ahead_ = {};
  for (Family family : {Family::jobs, Family::trials, Family::leases, Family::checkpoints}) {
    std::vector<Write> rows;
    for (const auto& [key, value] : store.rows(family)) rows.push_back({family, key, value});
    ahead_.commit(rows);
  }
  writing_.clear();
  counting_.clear();
  idle_.clear();
  inverted_.clear();
  drained_.clear();
  specs_.clear();  // a job that was lost with a crash may have had the number of another
  each<DrainRow>(store, Family::gangs, drain_key(""), [&](auto, const DrainRow& row) { drained_.insert(row.target); });
  for (JobId job : submitted_) {
    if (!store.rows(Family::jobs).contains(key_of(job))) violated("1: job {} was acknowledged and is lost", job);
  }
  for (const auto& [lease, count] : acknowledged_) {
    for (uint64_t i = 0; i < count; ++i) is_stored(lease, streams_.at(lease)[i], store);
  }
}

void Invariants::at_the_end(const MapStore& store) const {
  Invariants(*this).after_start(store);
  std::set<JobId> studies;
  each<JobRow>(store, Family::jobs, "", [&](auto, const JobRow& job) {
    if (parse_job(job.yaml, job.name).value().study) studies.insert(job.id);
    if (!ended(job.state)) violated("5: job {} is {}", job.id, to_string(job.state));
    std::map<State, uint64_t> counts;
    each<TrialRow>(store, Family::trials, key_of(job.id), [&](auto, const TrialRow& t) { ++counts[t.state]; });
    bool right = counts[State::finished] == job.finished && counts[State::failed] == job.failed &&
                 counts[State::cancelled] == job.cancelled && job.finished + job.failed + job.cancelled == job.trials;
    if (!right) violated("5: the counts of job {} are not those of its trials", job.id);
  });
  each<TrialRow>(store, Family::trials, "", [&](auto, const TrialRow& trial) {
    if (trial.state == State::failed && trial.reason.empty())
      violated("5: trial {} failed without a reason", to_string(trial.id));
    auto attempts = attempts_.find(trial.id);
    if (static_cast<int64_t>(trial.attempts) != (attempts == attempts_.end() ? 0 : attempts->second)) {
      violated("5: trial {} counts {} attempts", to_string(trial.id), trial.attempts);
    }
    if (trial.state != State::finished || studies.contains(trial.id.job)) return;
    // One that was stopped early ends with the evaluation that it was judged by.
    const int64_t last = trial.stopped ? trial.curve_steps.back() : script_.steps(trial.id);
    const auto in_order = [](const Series& series) {
      std::map<std::string, std::vector<std::pair<int64_t, double>>> curves;
      for (const auto& [name, points] : series) {
        for (const auto& point : points) curves[name].push_back({point.step, point.value});
      }
      return curves;
    };
    Series expected;
    for (int64_t step = 0; step <= last; ++step) {
      for (const auto& [name, value] : script_.metrics(trial.id, step).values) expected[name].push_back({step, value});
    }
    const auto stored = in_order(read_series(store, trial.id, "").value());
    for (auto& [name, points] : expected) {
      const auto newest = read_series(store, trial.id, name, 2).value()[name];
      if (newest.size() != std::min<size_t>(2, points.size()) || newest.back().step != points.back().step) {
        violated("1: the newest points of {} of trial {} are not its last", name, to_string(trial.id));
      }
    }
    if (stored != in_order(expected))
      violated("1: the curves of trial {} are not exactly those of its steps", to_string(trial.id));
    if (trial.initial != script_.metrics(trial.id, 0).values || trial.final != script_.metrics(trial.id, last).values) {
      violated("1: the evaluations of trial {} are not those of its first and last step", to_string(trial.id));
    }
    if (!trial.stopped) is_shown(trial.id, store);
    // One that was given back has a newer one.
    const int64_t reported = trial.stopped ? last - 1 : last;
    if (newest_checkpoint(store, trial.id) < reported / 3 * 3) {
      violated("1: the last checkpoint of trial {} is not stored", to_string(trial.id));
    }
  });
}

}  // namespace hivq
