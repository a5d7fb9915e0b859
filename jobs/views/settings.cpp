#include "jobs/views/settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "jobs/views/format.h"

namespace hivq {

namespace {

// What repeats an experiment instead of changing it.
constexpr std::array<std::string_view, 2> repetitions = {"train.seed", "data.normal_classes"};

bool is_repetition(const std::string& key) {
  return std::find(repetitions.begin(), repetitions.end(), key) != repetitions.end();
}

/// One setting's trials that have a value, by what repeats it: `train.seed=0`.
struct Values {
  std::map<std::string, double> by_repetition;
  std::vector<double> before, after;
};

std::optional<Spread> spread_of(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  const auto count = static_cast<double>(values.size());
  Spread spread{std::accumulate(values.begin(), values.end(), 0.0) / count, std::nullopt, values.size()};
  if (values.size() < 2) return spread;
  double squares = 0;
  for (double value : values) squares += (value - spread.mean) * (value - spread.mean);
  spread.deviation = std::sqrt(squares / (count - 1));
  return spread;
}

/// The 97.5 % quantile of Student's t.
double t_quantile(size_t degrees) {
  constexpr std::array<double, 30> table = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                            2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                            2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  return degrees <= table.size() ? table[degrees - 1] : 1.96 + 2.4 / static_cast<double>(degrees);
}

std::optional<Difference> difference_of(const Setting& above, const Values& values_above, const Setting& below,
                                        const Values& values_below) {
  if (!above.after || !below.after) return std::nullopt;
  std::vector<double> changes;
  for (const auto& [repetition, value] : values_below.by_repetition) {
    auto other = values_above.by_repetition.find(repetition);
    if (other != values_above.by_repetition.end()) changes.push_back(value - other->second);
  }
  Difference difference;
  difference.pairs = changes.size();
  size_t degrees = 0;
  if (auto paired = spread_of(changes)) {
    difference.mean = paired->mean;
    degrees = changes.size() - 1;
    if (paired->deviation) {
      difference.standard_error = *paired->deviation / std::sqrt(static_cast<double>(changes.size()));
    }
  } else {
    difference.mean = below.after->mean - above.after->mean;
    if (above.after->deviation && below.after->deviation) {
      auto variance = [](const Spread& s) { return *s.deviation * *s.deviation / static_cast<double>(s.count); };
      difference.standard_error = std::sqrt(variance(*above.after) + variance(*below.after));
      degrees = std::min(above.after->count, below.after->count) - 1;  // never too many (Welch)
    }
  }
  if (difference.standard_error) {
    difference.clear = std::abs(difference.mean) > t_quantile(degrees) * *difference.standard_error;
  }
  if (above.published && below.published) difference.published = *below.published - *above.published;
  return difference;
}

/// The mean over settings that are splits of one experiment.
std::optional<Setting> mean_of(const std::vector<Setting>& settings) {
  Setting mean;
  mean.label = "mean";
  std::vector<double> before, after;
  double published = 0;
  bool all_published = true;
  for (const Setting& setting : settings) {
    if (!setting.after) return std::nullopt;
    after.push_back(setting.after->mean);
    if (setting.before) before.push_back(setting.before->mean);
    mean.trials += setting.trials;
    all_published = all_published && setting.published;
    published += setting.published.value_or(0) / static_cast<double>(settings.size());
  }
  mean.after = spread_of(after);
  if (before.size() == after.size()) mean.before = spread_of(before);
  if (all_published) mean.published = published;
  return mean;
}

/// A spread or a difference of values such as `value`, with as many decimals as these have.
std::string beside(double number, double value) {
  const double size = std::abs(value);
  return size >= 1e-3 && size < 1000 ? fmt::format("{:.4f}", number) : number_text(number);
}

/// `0.5676 → 0.9250 ± 0.0031`.
std::string spread_text(const Setting& setting) {
  auto mean = [](const std::optional<Spread>& spread) {
    return spread ? std::optional<double>(spread->mean) : std::nullopt;
  };
  std::string text = change_text(mean(setting.before), mean(setting.after));
  if (setting.after && setting.after->deviation) {
    text += fmt::format(" ± {}", beside(*setting.after->deviation, setting.after->mean));
  }
  return text;
}

std::string signed_text(double change, double value) {
  return (change < 0 ? "-" : "+") + beside(std::abs(change), value);
}

/// `+0.0021 ± 0.0012`.
std::string difference_text(const Difference& difference, double value) {
  std::string text = signed_text(difference.mean, value);
  if (difference.standard_error) text += fmt::format(" ± {}", beside(*difference.standard_error, value));
  return text;
}

std::string agreement_text(const Difference& difference) {
  auto agrees = difference.agrees();
  if (!agrees) return "–";
  return fmt::format("{}{}", *agrees ? "yes" : "no", difference.clear ? "" : ", within noise");
}

std::string count_of_values(const Setting& setting) {
  const size_t values = setting.after ? setting.after->count : 0;
  return values == setting.trials ? std::to_string(values) : fmt::format("{}/{}", values, setting.trials);
}

Table settings_table(const BySetting& results, bool published, bool compared) {
  Table table{{{"setting", Align::left, true}, {"n", Align::right}, {results.metric, Align::right}}, {}};
  if (published) table.columns.push_back({"published", Align::right});
  if (compared) table.columns.push_back({"Δ to the row above", Align::right, false, 1});
  if (compared && published) {
    table.columns.push_back({"published Δ", Align::right, false, 2});
    table.columns.push_back({"same order"});
  }
  auto add = [&](const Setting& setting, Tint tint) {
    std::vector<Cell> cells = {Cell(setting.label, tint), count_of_values(setting), Cell(spread_text(setting), tint)};
    const auto& step = setting.from_above;
    if (published) cells.emplace_back(setting.published ? number_text(*setting.published) : "–");
    if (compared) cells.emplace_back(step ? difference_text(*step, setting.after->mean) : "–");
    if (compared && published) {
      cells.emplace_back(step && step->published ? signed_text(*step->published, *setting.published) : "–");
      cells.emplace_back(step ? agreement_text(*step) : "–");
    }
    table.rows.push_back(std::move(cells));
  };
  for (const Setting& setting : results.settings) add(setting, Tint::none);
  if (results.mean) add(*results.mean, Tint::bold);
  return table;
}

/// `published order: kept by 3 of 4 neighbours (2 beyond noise), reversed by 1 (0 beyond noise)`.
std::string order_text(const BySetting& results) {
  size_t kept = 0, clearly_kept = 0, reversed = 0, clearly_reversed = 0;
  for (const Setting& setting : results.settings) {
    auto agrees = setting.from_above ? setting.from_above->agrees() : std::nullopt;
    if (!agrees) continue;
    (*agrees ? kept : reversed) += 1;
    if (setting.from_above->clear) (*agrees ? clearly_kept : clearly_reversed) += 1;
  }
  if (kept + reversed == 0) return "";
  return fmt::format(
      "published order: kept by {} of {} neighbours ({} beyond noise), reversed by {} ({} beyond noise)\n", kept,
      kept + reversed, clearly_kept, reversed, clearly_reversed);
}

}  // namespace

std::optional<bool> Difference::agrees() const {
  if (!published || *published == 0 || mean == 0) return std::nullopt;
  return (*published > 0) == (mean > 0);
}

bool BySetting::worthwhile() const {
  return std::any_of(settings.begin(), settings.end(),
                     [](const Setting& setting) { return setting.trials > 1 || setting.published; });
}

BySetting by_setting(const Results& results) {
  BySetting grouped;
  grouped.metric = results.job.metric;
  std::vector<const ResultRow*> rows;
  for (const auto& row : results.rows) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [](auto* a, auto* b) { return a->trial.id.index < b->trial.id.index; });
  std::vector<std::string> told;
  for (const auto& key : results.told_params) {
    (is_repetition(key) ? grouped.averaged : told).push_back(key);
  }

  std::vector<Values> values;
  std::map<std::pair<std::string, std::map<std::string, std::string>>, size_t> place_of;
  for (const ResultRow* row : rows) {
    TrialView shown = row->trial;
    std::string repetition;
    for (const auto& key : grouped.averaged) {
      repetition += fmt::format("{}={} ", key, shown.params[key]);
    }
    Setting setting;
    setting.variant = setting.label = shown.variant;
    for (const auto& key : told) {
      setting.params[key] = shown.params[key];
      setting.label +=
          fmt::format("{}{}={}", setting.label.empty() ? "" : " ", short_key(key, told), shown.params[key]);
    }
    if (setting.label.empty()) setting.label = "all";
    if (auto found = results.published.find(shown.variant); found != results.published.end()) {
      setting.published = found->second;
    }
    auto [place, is_new] = place_of.emplace(std::pair(setting.variant, setting.params), grouped.settings.size());
    if (is_new) {
      grouped.settings.push_back(std::move(setting));
      values.emplace_back();
    }
    ++grouped.settings[place->second].trials;
    Values& into = values[place->second];
    if (!row->after || !std::isfinite(*row->after)) continue;
    into.after.push_back(*row->after);
    into.by_repetition.emplace(repetition, *row->after);
    if (row->before && std::isfinite(*row->before)) into.before.push_back(*row->before);
  }

  for (size_t i = 0; i < values.size(); ++i) {
    Setting& setting = grouped.settings[i];
    setting.before = spread_of(values[i].before);
    setting.after = spread_of(values[i].after);
  }
  // The variants are splits: what they set is a repetition, and nothing else differs.
  const auto& params = results.params;
  const bool splits = params.size() > results.told_params.size() && grouped.settings.size() > 1 &&
                      std::all_of(params.begin(), params.end(), is_repetition);
  if (splits) {
    grouped.mean = mean_of(grouped.settings);
    return grouped;  // one split's difference to the next says nothing
  }
  for (size_t i = 1; i < values.size(); ++i) {
    grouped.settings[i].from_above =
        difference_of(grouped.settings[i - 1], values[i - 1], grouped.settings[i], values[i]);
  }
  return grouped;
}

std::string settings_text(const BySetting& results, const TableStyle& style) {
  if (!results.worthwhile()) return "";
  auto any = [&](auto has) { return std::any_of(results.settings.begin(), results.settings.end(), has); };
  const bool compared = any([](const Setting& setting) { return setting.from_above.has_value(); });
  const bool published = any([](const Setting& setting) { return setting.published.has_value(); });
  const bool paired = any([](const Setting& s) { return s.from_above && s.from_above->pairs > 1; });
  const std::string over = fmt::format("{}", fmt::join(results.averaged, " and "));
  std::string text = "by setting";
  if (!over.empty()) text += ": mean ± sample deviation over " + over;
  text += '\n' + render(settings_table(results, published, compared), style);
  if (paired) text += fmt::format("Δ: mean ± standard error over trials of equal {}; noise: 95 %, Student's t\n", over);
  return text + (published ? order_text(results) : "");
}

std::string settings_csv(const BySetting& results) {
  std::vector<std::string> keys;
  if (!results.settings.empty()) {
    for (const auto& [key, value] : results.settings.front().params) keys.push_back(key);
  }
  std::string text = "setting,variant";
  for (const auto& key : keys) text += fmt::format(",{}", csv_field(key));
  text +=
      ",trials,n,untrained,trained,deviation,published,difference,standard_error,pairs,published_difference,"
      "same_order,beyond_noise\n";
  auto exact = [](std::optional<double> value) { return value ? fmt::format("{}", *value) : std::string(); };
  auto add = [&](const Setting& setting) {
    text += fmt::format("{},{}", csv_field(setting.label), csv_field(setting.variant));
    for (const auto& key : keys) {
      auto found = setting.params.find(key);
      text += fmt::format(",{}", csv_field(found == setting.params.end() ? "" : found->second));
    }
    text +=
        fmt::format(",{},{},{},{},{},{}", setting.trials, setting.after ? setting.after->count : 0,
                    setting.before ? exact(setting.before->mean) : "", setting.after ? exact(setting.after->mean) : "",
                    setting.after ? exact(setting.after->deviation) : "", exact(setting.published));
    if (const auto& step = setting.from_above) {
      auto agrees = step->agrees();
      text += fmt::format(",{},{},{},{},{},{}\n", exact(step->mean), exact(step->standard_error), step->pairs,
                          exact(step->published), agrees ? (*agrees ? "true" : "false") : "", step->clear);
    } else {
      text += ",,,,,,\n";
    }
  };
  for (const Setting& setting : results.settings) add(setting);
  if (results.mean) add(*results.mean);
  return text;
}

}  // namespace hivq
