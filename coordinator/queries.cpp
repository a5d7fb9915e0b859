#include "coordinator/queries.h"

#include <fmt/format.h>

#include "common/sha256.h"

namespace hivq {

namespace {

JobView view(const JobRow& row, const Core& core, const Store& store) {
  JobView view{row.id, row.name, to_string(row.state), row.reason, row.submitted, row.ended, row.trials,
               row.finished, row.failed, 0, row.cancelled, row.metric, row.goal};
  if (!ended(row.state)) {
    store.scan(Family::trials, key_of(row.id), [&](auto, std::string_view value) {
      auto trial = unpack<TrialRow>(value);
      view.running += trial && trial->state == State::running;
      return true;
    });
    if (view.running == 0 && !core.waiting_reason(row.id).empty()) view.state = "waiting";
  }
  return view;
}

TrialView view(const TrialRow& row, const Core& core, const Store& store) {
  TrialView view;
  view.id = row.id;
  view.state = to_string(row.state);
  view.reason = row.reason;
  view.variant = row.variant;
  view.params = row.params;
  view.initial = row.initial;
  view.final = row.final;
  view.attempts = row.attempts;
  view.started = row.started;
  view.ended = row.ended;
  if (const GangState* gang = core.gang_of(row.id)) {
    view.gang = gang->hello.gang;
    view.step = gang->progress.step;
    view.total_steps = gang->progress.total_steps;
    view.phase = gang->progress.phase;
  }
  if (auto bytes = store.get(Family::checkpoints, key_of(row.id))) {
    if (auto manifest = unpack<Manifest>(*bytes)) view.checkpoint_step = manifest->step;
  }
  return view;
}

std::optional<JobRow> find_job(JobId id, const Store& store) {
  auto bytes = store.get(Family::jobs, key_of(id));
  if (!bytes) return std::nullopt;
  auto row = unpack<JobRow>(*bytes);
  if (!row) return std::nullopt;
  return std::move(*row);
}

Failed no_job(JobId id) { return {fmt::format("there is no job {}; `hivq list` shows them", id)}; }

Failed no_trial(const TrialId& id) {
  return {fmt::format("there is no trial {}; `hivq show {}` shows the trials of a job", to_string(id), id.job)};
}

bool has_trial(const TrialId& id, const Store& store) { return store.get(Family::trials, key_of(id)).has_value(); }

Body answer_to(const ListJobs&, const Store& store, const Core& core) {
  JobList list;
  store.scan(Family::jobs, "", [&](auto, std::string_view value) {
    if (auto row = unpack<JobRow>(value)) list.jobs.push_back(view(*row, core, store));
    return true;
  });
  return list;
}

Body answer_to(const ShowJob& question, const Store& store, const Core& core) {
  auto row = find_job(question.job, store);
  if (!row) return no_job(question.job);
  JobDetail detail{view(*row, core, store), row->yaml, core.waiting_reason(row->id), {}};
  store.scan(Family::trials, key_of(row->id), [&](auto, std::string_view value) {
    if (auto trial = unpack<TrialRow>(value)) detail.trials.push_back(view(*trial, core, store));
    return true;
  });
  return detail;
}

Body answer_to(const QueryMetrics& question, const Store& store, const Core&) {
  if (!has_trial(question.trial, store)) return no_trial(question.trial);
  MetricSeries answer;
  std::string prefix = key_of(question.trial);
  store.scan(Family::metrics, prefix + question.prefix, [&](std::string_view key, std::string_view value) {
    auto point = unpack<double>(value);
    std::string name(key.substr(prefix.size(), key.size() - prefix.size() - 9));
    if (point) answer.series[name].push_back({static_cast<int64_t>(number_at(key, key.size() - 8)), *point});
    return true;
  });
  if (question.newest > 0) {
    for (auto& [name, points] : answer.series) {
      if (points.size() > question.newest) points.erase(points.begin(), points.end() - static_cast<int64_t>(question.newest));
    }
  }
  return answer;
}

Body answer_to(const QueryLogs& question, const Store& store, const Core&) {
  if (!has_trial(question.trial, store)) return no_trial(question.trial);
  LogLines answer;
  uint64_t number = 0;
  store.scan(Family::logs, key_of(question.trial), [&](auto, std::string_view value) {
    if (number++ < question.after) return true;
    auto row = unpack<EventRow>(value);
    answer.lines.push_back(row ? row->text : "(this line is damaged on disk)");
    answer.times.push_back(row ? row->at : 0);
    return true;
  });
  return answer;
}

Body answer_to(const QueryGangs&, const Store&, const Core& core) {
  GangList answer;
  for (const auto& [id, gang] : core.gangs()) {
    answer.gangs.push_back({id, gang.hello.host, gang.hello.devices, gang.hello.launch, gang.progress.phase, gang.hello.ranks,
                            gang.lease.value_or(Lease{}), gang.connected});
  }
  return answer;
}

Body answer_to(const FetchChunk& question, const Store& store, const Core&) {
  auto bytes = store.get(Family::blobs, question.hash);
  if (!bytes) return Chunk{question.hash, "", fmt::format("chunk {} is not in the store", question.hash)};
  if (sha256_hex(*bytes) != question.hash) {
    return Chunk{question.hash, "", fmt::format("chunk {} is damaged on disk", question.hash)};
  }
  return Chunk{question.hash, std::move(*bytes), ""};
}

template <typename Other>
Body answer_to(const Other&, const Store&, const Core&) {
  return Failed{"this message is not a question"};
}

}  // namespace

bool is_query(const Body& body) {
  return std::holds_alternative<ListJobs>(body) || std::holds_alternative<ShowJob>(body) ||
         std::holds_alternative<QueryMetrics>(body) || std::holds_alternative<QueryLogs>(body) ||
         std::holds_alternative<QueryGangs>(body) || std::holds_alternative<FetchChunk>(body);
}

Body answer(const Body& question, const Store& store, const Core& core) {
  return std::visit([&](const auto& body) { return answer_to(body, store, core); }, question);
}

}  // namespace hivq
