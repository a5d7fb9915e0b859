#include "coordinator/estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "coordinator/snapshot.h"
#include "jobs/fusion.h"
#include "jobs/search/searcher.h"

namespace hivq {

namespace {

constexpr size_t most_jobs = 200;      // that are looked through
constexpr size_t most_rows = 500;      // trials of each of them that are read …
constexpr size_t most_finished = 50;   // … and of these compared
constexpr uint64_t enough = 1000;      // trials that are alike
constexpr int64_t most_trials = 1000;  // of the job that are looked at one by one; the rest are like them on average

/// Equal for trials whose steps take equally long, and whose checkpoints are equally large.
std::string work_key(TrialSpec trial) {
  const TrialSpec any;
  trial.train.epochs = any.train.epochs;
  trial.train.eval_every = any.train.eval_every;
  trial.train.checkpoint_every = any.train.checkpoint_every;
  trial.train.checkpoint_seconds = any.train.checkpoint_seconds;
  trial.gang = {};
  return fusion_key(trial);
}

/// What finished trials with one key took.
struct Measured {
  uint64_t trials = 0;
  double millis = 0, epochs = 0;  // of ranks, and trained meanwhile
  uint64_t checkpoint = 0;        // the largest
};

/// A job's first trials that have finished, and of which it is known how long they ran.
Result<std::vector<TrialRow>> first_finished(const Store& store, JobId job) {
  std::vector<TrialRow> finished;
  Status unreadable;
  size_t rows = 0;
  Status scanned = store.scan(Family::trials, key_of(job), [&](auto, std::string_view value) {
    auto row = unpack<TrialRow>(value);
    if (!row) unreadable = row.error();
    if (row && row->state == State::finished && row->rank_millis > 0) finished.push_back(std::move(*row));
    return row && ++rows < most_rows && finished.size() < most_finished;
  });
  if (!scanned) return scanned.error();
  if (!unreadable) return unreadable.error();
  return finished;
}

/// Of a trial's newest checkpoint; 0: there is none.
Result<uint64_t> checkpoint_bytes(const Store& store, const TrialId& trial) {
  auto kept = read_checkpoints(store, trial);
  if (!kept) return kept.error();
  return kept->empty() ? 0 : kept->rbegin()->second.manifest.size;
}

/// Adds a job's trials to those that they are like. Gives how many these are.
Result<uint64_t> measure(const Store& store, const JobRow& job, std::map<std::string, Measured>& wanted) {
  auto spec = parse_job(job.yaml, job.name);
  if (!spec) return uint64_t{0};  // of another version
  auto finished = first_finished(store, job.id);
  if (!finished) return finished.error();
  uint64_t alike = 0;
  for (const TrialRow& row : *finished) {
    if (row.stopped) continue;  // it tells nothing of a whole one
    auto params = read_params(row.params);
    auto trial = params ? with_params(spec->trial, *params) : Result<TrialSpec>(params.error());
    if (!trial) continue;
    auto found = wanted.find(work_key(*trial));
    if (found == wanted.end()) continue;
    auto bytes = checkpoint_bytes(store, row.id);
    if (!bytes) return bytes.error();
    alike += 1;
    Measured& measured = found->second;
    measured.trials += 1;
    measured.millis += row.rank_millis;
    measured.epochs += static_cast<double>(trial->train.epochs);
    measured.checkpoint = std::max(measured.checkpoint, *bytes);
  }
  return alike;
}

/// The keys that are asked for, filled from the newest jobs on.
Status measure(const Store& store, std::map<std::string, Measured>& wanted) {
  std::vector<JobRow> jobs;
  auto read = read_rows<JobRow>(store, Family::jobs, "", [&](auto, JobRow row) { jobs.push_back(std::move(row)); });
  if (!read) return read;
  std::reverse(jobs.begin(), jobs.end());
  if (jobs.size() > most_jobs) jobs.resize(most_jobs);
  uint64_t alike = 0;
  for (const JobRow& job : jobs) {
    if (ended(job.state) && job.finished == 0) continue;
    auto more = measure(store, job, wanted);
    if (!more) return more.error();
    if ((alike += *more) >= enough) break;
  }
  return {};
}

}  // namespace

Result<Estimate> estimate(const EstimateJob& question, const Policy& policy, const Store& store) {
  auto job = parse_job(question.yaml, question.file);
  if (!job) return job.error();
  const Status allowed = policy.allows(question.user, job->project, job->priority);
  if (!allowed) return error("{}: {}", question.file, allowed.error().message);
  auto searcher = make_searcher(*job);
  Estimate answer;
  answer.trials = static_cast<uint64_t>(searcher->size());
  if (job->study) {
    answer.note = "the time and the space: your own program runs its trials, and takes what it takes";
    return answer;
  }
  std::map<std::string, Measured> wanted;
  std::vector<std::pair<std::string, double>> sample;  // keys and epochs of the first trials
  for (int64_t index = 0; index < std::min(searcher->size(), most_trials); ++index) {
    const auto proposal = searcher->propose(index);
    if (!proposal) break;  // it must hear first how others end
    auto trial = with_params(job->trial, proposal->params);
    if (!trial) return error("{}: trial {}: {}", question.file, index, trial.error().message);
    sample.emplace_back(work_key(*trial), static_cast<double>(trial->train.epochs));
    wanted.try_emplace(sample.back().first);
  }
  if (auto measured = measure(store, wanted); !measured) return measured.error();

  double millis = 0, bytes = 0;
  size_t known = 0, with_checkpoint = 0;
  for (const auto& [key, epochs] : sample) {
    const Measured& like = wanted.at(key);
    if (like.trials == 0) continue;
    known += 1;
    millis += like.millis / like.epochs * epochs;
    with_checkpoint += like.checkpoint > 0;
    bytes += static_cast<double>(like.checkpoint);
  }
  for (const auto& [key, like] : wanted) answer.similar += like.trials;
  if (known > 0) {
    answer.rank_hours = millis / static_cast<double>(known) * static_cast<double>(answer.trials) / 3.6e6;
    if (with_checkpoint > 0) {
      answer.checkpoint_bytes =
          static_cast<int64_t>(bytes / static_cast<double>(with_checkpoint) * static_cast<double>(answer.trials));
    }
  }
  if (known == 0) {
    answer.note = "the time and the space: no trial like these has finished here yet; ask again when one has";
  } else if (known < sample.size()) {
    const auto unknown = [](const auto& entry) { return entry.second.trials == 0; };
    answer.note = fmt::format("{} of {} shapes of trials have not been run yet; they are taken to be like the others",
                              std::count_if(wanted.begin(), wanted.end(), unknown), wanted.size());
  }
  return answer;
}

}  // namespace hivq
