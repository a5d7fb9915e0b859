#include "coordinator/queries.h"

#include <fmt/format.h>

#include "common/sha256.h"
#include "coordinator/estimate.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"

namespace hivq {

namespace {

/// A row, or nothing where there is none.
template <typename Row>
Result<std::optional<Row>> find(const Store& store, Family family, const std::string& key) {
  auto bytes = store.get(family, key);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<Row>();
  auto row = unpack<Row>(**bytes);
  if (!row) return row.error();
  return std::optional<Row>(std::move(*row));
}

/// Calls `each(key, row)` for the rows whose key starts with `prefix`, until it fails or one cannot be read.
template <typename Row, typename Each>
Status each_row(const Store& store, Family family, const std::string& prefix, const Each& each) {
  Status status;
  Status scanned = store.scan(family, prefix, [&](std::string_view key, std::string_view value) {
    auto row = unpack<Row>(value);
    status = row ? each(key, *row) : Status(row.error());
    return static_cast<bool>(status);
  });
  return scanned ? status : scanned;
}

JobView view(const JobRow& stored, const Core& core) {
  const JobRow* open = core.open_job(stored.id);
  const JobRow& row = open ? *open : stored;
  JobView view{
      row.id,       row.name,    to_string(row.state),        row.reason,    row.submitted, row.ended, row.trials,
      row.finished, row.failed,  core.running_trials(row.id), row.cancelled, row.metric,    row.goal,  row.user,
      row.project,  row.priority};
  view.queued = core.scheduler().waiting(row.id);
  if (core.paused(row.id)) {
    view.state = view.running == 0 ? "paused" : "pausing";
  } else if (open && view.running == 0) {
    view.state = "waiting";
  }
  return view;
}

TrialView view(const TrialRow& row, const Core& core, const Kept& kept) {
  TrialView view;
  view.id = row.id;
  view.state = row.state == State::pending && core.paused(row.id.job) ? "paused" : to_string(row.state);
  view.reason = row.reason;
  if (row.state == State::pending && row.not_before > core.now()) {
    view.reason = fmt::format("lost its gang {} times; it is tried again in {} s", row.attempts,
                              (row.not_before - core.now() + 999) / 1000);
  }
  view.variant = row.variant;
  view.params = row.params;
  view.initial = row.initial;
  view.final = row.final;
  view.attempts = row.attempts;
  view.started = row.started;
  view.ended = row.ended;
  const GangState* gang = core.gang_of(row.id);
  if (gang != nullptr) {
    view.gang = gang->hello.gang;
    view.beside = gang->leases.size() - 1;
    auto lease = gang->leases.lower_bound(Lease{row.id, 0});
    auto said = lease == gang->leases.end() ? gang->progress.end() : gang->progress.find(*lease);
    if (said != gang->progress.end()) {  // else it still speaks of another trial
      view.step = said->second.step;
      view.total_steps = said->second.total_steps;
      view.phase = said->second.phase;
    }
  }
  // Of a study's trial no gang says how far it is.
  if (row.state == State::running && core.is_study(row.id.job)) view.step = std::max<int64_t>(0, row.final_step);
  for (const auto& [step, checkpoint] : kept) {
    view.checkpoints.push_back({step, checkpoint.manifest.size, checkpoint.at, checkpoint.metric, checkpoint.pinned});
    view.checkpoint_step = step;
  }
  return view;
}

Failed no_job(JobId id) { return {fmt::format("there is no job {}; `hivq list` shows them", id)}; }

Failed no_trial(const TrialId& id) {
  return {fmt::format("there is no trial {}; `hivq show {}` shows the trials of a job", to_string(id), id.job)};
}

/// Nothing where the trial is there; otherwise why not.
std::optional<Failed> missing(const TrialId& id, const Store& store) {
  auto row = store.get(Family::trials, key_of(id));
  if (!row) return Failed{row.error().message};
  if (!*row) return no_trial(id);
  return std::nullopt;
}

Body answer_to(const ListJobs&, const Store& store, const Core& core) {
  JobList list;
  Status read = each_row<JobRow>(store, Family::jobs, "", [&](auto, const JobRow& row) {
    list.jobs.push_back(view(row, core));
    return Status();
  });
  if (!read) return Failed{read.error().message};
  return list;
}

Body answer_to(const ShowJob& question, const Store& store, const Core& core) {
  auto row = find<JobRow>(store, Family::jobs, key_of(question.job));
  if (!row) return Failed{row.error().message};
  if (!*row) return no_job(question.job);
  JobDetail detail{view(**row, core), (*row)->yaml, "", {}};
  if (detail.job.running == 0 || core.paused(question.job)) detail.waiting = core.waiting_reason(question.job);
  const auto kept = read_job_checkpoints(store, question.job);
  if (!kept) return Failed{kept.error().message};
  Status read = each_row<TrialRow>(store, Family::trials, key_of(question.job), [&](auto, const TrialRow& trial) {
    const auto own = kept->find(trial.id);
    detail.trials.push_back(view(trial, core, own == kept->end() ? Kept() : own->second));
    return Status();
  });
  if (!read) return Failed{read.error().message};
  return detail;
}

Body answer_to(const QueryMetrics& question, const Store& store) {
  if (auto failed = missing(question.trial, store)) return *failed;
  auto series = read_series(store, question.trial, question.prefix, question.newest);
  if (!series) return Failed{series.error().message};
  if (question.most > 0) {
    for (auto& [name, points] : *series) points = downsample(std::move(points), question.most);
  }
  return MetricSeries{std::move(*series)};
}

Body answer_to(const QueryLogs& question, const Store& store) {
  if (auto failed = missing(question.trial, store)) return *failed;
  LogLines answer;
  uint64_t number = 0;
  Status read = store.scan(Family::logs, key_of(question.trial), [&](auto, std::string_view value) {
    if (number++ < question.after) return true;
    auto row = unpack<EventRow>(value);
    answer.lines.push_back(row ? row->text : "(this line is damaged on disk)");
    answer.times.push_back(row ? row->at : 0);
    return true;
  });
  if (!read) return Failed{read.error().message};
  return answer;
}

Body answer_to(const FetchCheckpoint& question, const Store& store, const Core&) {
  const TrialId& id = question.trial;
  if (auto failed = missing(id, store)) return *failed;
  auto kept = read_checkpoints(store, id);
  if (!kept) return Failed{kept.error().message};
  if (kept->empty()) {
    return Failed{
        fmt::format("trial {} has no checkpoint: it writes one every train.checkpoint_every epochs, and at "
                    "its end",
                    to_string(id))};
  }
  auto found = question.step < 0 ? std::prev(kept->end()) : kept->find(question.step);
  if (found == kept->end()) {
    std::string steps;
    for (const auto& [step, row] : *kept) steps += fmt::format("{}{}", steps.empty() ? "" : ", ", step);
    return Failed{fmt::format("trial {} has no checkpoint of step {} (any more); it has those of the steps {}",
                              to_string(id), question.step, steps)};
  }
  return TrialCheckpoint{std::move(found->second.manifest)};
}

Body answer_to(const QueryGangs&, const Store&, const Core& core) {
  GangList answer;
  for (const auto& [id, gang] : core.gangs()) {
    GangView view{id, gang.hello.host, gang.hello.devices, gang.hello.launch, "", gang.hello.ranks,
                  {}, gang.connected,  core.drained(gang), gang.hello.labels};
    for (const Lease& lease : gang.leases) view.trials.push_back(lease.trial);
    if (!gang.progress.empty()) view.phase = gang.progress.begin()->second.phase;
    answer.gangs.push_back(std::move(view));
  }
  return answer;
}

Body answer_to(const ExplainJob& question, const Store& store, const Core& core) {
  auto row = find<JobRow>(store, Family::jobs, key_of(question.job));
  if (!row) return Failed{row.error().message};
  if (!*row) return no_job(question.job);
  const JobRow* open = core.open_job(question.job);
  if (open == nullptr) {
    const char* end = (*row)->state == State::cancelled ? "been cancelled" : to_string((*row)->state);
    const char* colon = (*row)->reason.empty() ? "" : ": ";
    return Explanation{fmt::format("job {} has {}{}{}", question.job, end, colon, (*row)->reason)};
  }
  const uint64_t running = core.running_trials(question.job);
  std::string reason = core.waiting_reason(question.job);
  if (core.is_study(question.job) && running > 0) {
    return Explanation{fmt::format("job {} runs: clients run {} of its {} trials{}{}", question.job, running,
                                   open->trials, reason.empty() ? "" : "; ", reason)};
  }
  if (reason.empty()) {
    return Explanation{fmt::format("job {} runs: {} of its {} trials have a gang, and none waits for one", question.job,
                                   running, open->trials)};
  }
  if (running > 0) {
    const uint64_t ended = open->finished + open->failed + open->cancelled;
    return Explanation{fmt::format("job {} runs: {} of its {} trials have a gang, {} wait: {}", question.job, running,
                                   open->trials, open->trials - ended - running, reason)};
  }
  return Explanation{fmt::format("job {} does not run: {}", question.job, reason)};
}

Body answer_to(const EstimateJob& question, const Store& store, const Core& core) {
  auto answer = estimate(question, core.scheduler().policy(), store);
  if (!answer) return Failed{answer.error().message};
  return std::move(*answer);
}

Body answer_to(const FetchChunk& question, const Store& store) {
  auto bytes = store.get(Family::blobs, question.hash);
  if (!bytes) return Chunk{question.hash, "", bytes.error().message};
  if (!*bytes) return Chunk{question.hash, "", fmt::format("chunk {} is not in the store", question.hash)};
  if (sha256_hex(**bytes) != question.hash) {
    return Chunk{question.hash, "", fmt::format("chunk {} is damaged on disk", question.hash)};
  }
  return Chunk{question.hash, std::move(**bytes), ""};
}

Body answer_to(const ListPictures& question, const Store& store) {
  const TrialId& id = question.trial;
  if (auto failed = missing(id, store)) return *failed;
  PictureList list;
  Status read =
      each_row<PictureView>(store, Family::pictures, picture_keys(id, PictureKey::picture), [&](auto, PictureView row) {
        list.pictures.push_back(std::move(row));
        return Status();
      });
  if (!read) return Failed{read.error().message};
  read = each_row<FigureView>(store, Family::pictures, picture_keys(id, PictureKey::figure), [&](auto, FigureView row) {
    list.figures.push_back(std::move(row));
    return Status();
  });
  if (!read) return Failed{read.error().message};
  return list;
}

/// Where a PNG lies and what its SHA-256 is. Errors: there is none, or the store's.
Result<std::pair<std::string, std::string>> png_of(const FetchPicture& question, const Store& store) {
  const auto& [id, number, part] = question;
  const Error none =
      error("there is no {} {} of trial {}", part == "figure" ? "figure" : "picture", number, to_string(id));
  if (part == "figure") {
    auto row = find<FigureView>(store, Family::pictures, picture_key(id, PictureKey::figure, number));
    if (!row) return row.error();
    if (!*row) return none;
    return std::pair(picture_key(id, PictureKey::figure_png, number), (*row)->hash);
  }
  auto row = find<PictureView>(store, Family::pictures, picture_key(id, PictureKey::picture, number));
  if (!row) return row.error();
  if (!*row) return none;
  if (part == "map") return std::pair(picture_key(id, PictureKey::map, number), (*row)->map);
  if (part == "image") return std::pair(shared_picture_key(id.job, (*row)->image), (*row)->image);
  if (part != "truth") return error("a picture has no part '{}'; image, truth and map are there", part);
  if ((*row)->truth.empty()) return error("there is no ground truth of picture {} of trial {}", number, to_string(id));
  return std::pair(shared_picture_key(id.job, (*row)->truth), (*row)->truth);
}

Body answer_to(const FetchPicture& question, const Store& store) {
  if (auto failed = missing(question.trial, store)) return *failed;
  auto place = png_of(question, store);
  if (!place) return Failed{place.error().message};
  auto& [key, hash] = *place;
  auto png = store.get(Family::pictures, key);
  if (!png) return Failed{png.error().message};
  if (!*png || sha256_hex(**png) != hash) {
    return Failed{fmt::format("the {} {} of trial {} is damaged on disk", question.part, question.number,
                              to_string(question.trial))};
  }
  return Picture{std::move(hash), std::move(**png)};
}

template <typename Other>
Body answer_to(const Other&, const Store&) {
  return Failed{"this message is not a question"};
}

template <typename Other>
Body answer_to(const Other& question, const Store& store, const Core&) {
  return answer_to(question, store);
}

}  // namespace

bool is_query(const Body& body) {
  return reads_store_alone(body) || std::holds_alternative<ListJobs>(body) || std::holds_alternative<ShowJob>(body) ||
         std::holds_alternative<FetchCheckpoint>(body) || std::holds_alternative<QueryGangs>(body) ||
         std::holds_alternative<ExplainJob>(body) || std::holds_alternative<EstimateJob>(body);
}

bool reads_store_alone(const Body& body) {
  return std::holds_alternative<QueryMetrics>(body) || std::holds_alternative<QueryLogs>(body) ||
         std::holds_alternative<FetchChunk>(body) || std::holds_alternative<ListPictures>(body) ||
         std::holds_alternative<FetchPicture>(body);
}

Body answer(const Body& question, const Store& store, const Core& core) {
  return std::visit([&](const auto& body) { return answer_to(body, store, core); }, question);
}

Body answer(const Body& question, const Store& store) {
  return std::visit([&](const auto& body) { return answer_to(body, store); }, question);
}

}  // namespace hivq
