#include "jobs/views/json.h"

#include <tuple>

namespace hivq {

using nlohmann::ordered_json;

namespace {

ordered_json optional(std::optional<double> value) { return value ? ordered_json(*value) : ordered_json(); }
ordered_json time(Millis at) { return at == 0 ? ordered_json() : ordered_json(at); }

}  // namespace

ordered_json to_json(const JobView& job) {
  return {{"job", job.id},
          {"name", job.name},
          {"state", job.state},
          {"reason", job.reason},
          {"submitted", time(job.submitted)},
          {"ended", time(job.ended)},
          {"trials", job.trials},
          {"finished", job.finished},
          {"failed", job.failed},
          {"running", job.running},
          {"cancelled", job.cancelled},
          {"metric", job.metric},
          {"goal", job.goal},
          {"user", job.user},
          {"project", job.project},
          {"priority", job.priority}};
}

ordered_json to_json(const TrialView& trial) {
  auto checkpoints = ordered_json::array();
  for (const auto& kept : trial.checkpoints) {
    checkpoints.push_back({{"step", kept.step},
                           {"bytes", kept.size},
                           {"at", time(kept.at)},
                           {"metric", kept.metric ? ordered_json(*kept.metric) : ordered_json()},
                           {"pinned", kept.pinned}});
  }
  return {{"trial", to_string(trial.id)},
          {"variant", trial.variant},
          {"params", trial.params},
          {"initial", trial.initial},
          {"final", trial.final},
          {"state", trial.state},
          {"reason", trial.reason},
          {"stopped_early", stopped_early(trial)},
          {"attempts", trial.attempts},
          {"started", time(trial.started)},
          {"ended", time(trial.ended)},
          {"step", trial.step},
          {"total_steps", trial.total_steps},
          {"phase", trial.phase},
          {"gang", trial.gang},
          {"beside", trial.beside},
          {"checkpoint_step", trial.checkpoint_step},
          {"checkpoints", checkpoints}};
}

ordered_json to_json(const JobDetail& detail) {
  ordered_json json = to_json(detail.job);
  json["waiting"] = detail.waiting;
  json["yaml"] = detail.yaml;
  json["trial_list"] = ordered_json::array();
  for (const auto& trial : detail.trials) json["trial_list"].push_back(to_json(trial));
  return json;
}

ordered_json to_json(const ResultRow& row) {
  ordered_json json;
  json["rank"] = row.rank == 0 ? ordered_json() : ordered_json(row.rank);
  json.update(to_json(row.trial));
  json["untrained"] = optional(row.before);
  json["trained"] = optional(row.after);
  json["last_loss"] = row.loss ? ordered_json(row.loss->value) : ordered_json();
  json["last_step"] = row.loss ? ordered_json(row.loss->step) : ordered_json();
  json["duration"] = row.duration;
  json["feasible"] = row.feasible;
  json["on_front"] = row.on_front;
  return json;
}

ordered_json to_json(const Results& results) {
  ordered_json json = to_json(results.job);
  json["results"] = ordered_json::array();
  for (const auto& row : results.rows) json["results"].push_back(to_json(row));
  json["groups"] = to_json(by_setting(results));
  return json;
}

ordered_json to_json(const BySetting& settings) {
  ordered_json json = ordered_json::array();
  if (!settings.worthwhile()) return json;
  auto add = [&](const Setting& setting) {
    const auto& [before, after] = std::tie(setting.before, setting.after);
    ordered_json one = {{"setting", setting.label},
                        {"variant", setting.variant},
                        {"params", setting.params},
                        {"trials", setting.trials},
                        {"n", after ? after->count : 0},
                        {"untrained", before ? ordered_json(before->mean) : ordered_json()},
                        {"trained", after ? ordered_json(after->mean) : ordered_json()},
                        {"deviation", after ? optional(after->deviation) : ordered_json()},
                        {"published", optional(setting.published)},
                        {"difference", ordered_json()}};
    if (const auto& step = setting.from_above) {
      auto agrees = step->agrees();
      one["difference"] = {{"mean", step->mean},
                           {"standard_error", optional(step->standard_error)},
                           {"pairs", step->pairs},
                           {"published", optional(step->published)},
                           {"same_order", agrees ? ordered_json(*agrees) : ordered_json()},
                           {"beyond_noise", step->clear}};
    }
    json.push_back(std::move(one));
  };
  for (const Setting& setting : settings.settings) add(setting);
  if (settings.mean) add(*settings.mean);
  return json;
}

ordered_json to_json(const std::vector<MetricPoint>& points) {
  ordered_json steps = ordered_json::array(), values = ordered_json::array();
  for (const auto& point : points) {
    steps.push_back(point.step);
    values.push_back(point.value);
  }
  return {{"steps", steps}, {"values", values}};
}

ordered_json to_json(const MetricSeries& series) {
  ordered_json json = ordered_json::object();
  for (const auto& [name, points] : series.series) json[name] = to_json(points);
  return json;
}

ordered_json to_json(const LogLines& lines) {
  ordered_json json = ordered_json::array();
  for (size_t i = 0; i < lines.lines.size(); ++i) {
    json.push_back(
        {{"time", i < lines.times.size() ? time(lines.times[i]) : ordered_json()}, {"text", lines.lines[i]}});
  }
  return json;
}

ordered_json to_json(const GangView& gang) {
  ordered_json json = {{"gang", gang.id},         {"host", gang.host},    {"devices", gang.devices},
                       {"ranks", gang.ranks},     {"phase", gang.phase},  {"connected", gang.connected},
                       {"drained", gang.drained}, {"labels", gang.labels}};
  json["trials"] = ordered_json::array();
  for (const auto& trial : gang.trials) json["trials"].push_back(to_string(trial));
  json["launched_by_coordinator"] = !gang.launch.empty();
  return json;
}

ordered_json to_json(const Estimate& estimate) {
  return {
      {"trials", estimate.trials},
      {"rank_hours", estimate.rank_hours < 0 ? ordered_json() : ordered_json(estimate.rank_hours)},
      {"similar_trials", estimate.similar},
      {"checkpoint_bytes", estimate.checkpoint_bytes < 0 ? ordered_json() : ordered_json(estimate.checkpoint_bytes)},
      {"note", estimate.note}};
}

ordered_json to_json(const DrainSet& done, bool drained) {
  return {{"target", done.target}, {"drained", drained}, {"gangs", done.gangs}, {"running", done.running}};
}

ordered_json to_json(const Comparison& comparison) {
  ordered_json facts, settings, metrics;
  for (const auto& line : comparison.facts) facts[line.name] = line.values;
  for (const auto& line : comparison.settings) settings[line.name] = line.values;
  for (const auto& line : comparison.metrics) {
    auto values = ordered_json::array();
    for (const auto& value : line.values) values.push_back(value ? ordered_json(*value) : ordered_json());
    metrics[line.name] = std::move(values);
  }
  return {{"trials", comparison.trials}, {"facts", facts}, {"settings", settings}, {"metrics", metrics}};
}

ordered_json to_json(const Importance& found, const std::string& metric) {
  auto shares = ordered_json::array();
  for (const auto& share : found.shares) {
    shares.push_back(
        {{"parameter", share.parameter}, {"with", share.with}, {"share", share.share}, {"deviation", share.deviation}});
  }
  return {{"metric", metric}, {"trials", found.trials}, {"explained", found.explained}, {"shares", shares}};
}

ordered_json to_json(const SqlValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return *whole;
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return nullptr;
}

std::string text_of(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace hivq
