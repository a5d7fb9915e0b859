#include "jobs/cli/figures.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "jobs/cli/png.h"
#include "jobs/views/format.h"
#include "jobs/views/settings.h"

namespace hivq::cli {

namespace {

namespace fs = std::filesystem;

constexpr size_t most_asked = 1000;  // trials whose loss a table asks for, one question each
constexpr const char* loss_name = "loss";
constexpr uint64_t drawn_points = 4000;  // of a curve: more than a figure has columns

// The rows of a figure: ranked trials first, best first, then those without a value.
std::vector<const ResultRow*> best_rows(const Results& results) {
  std::vector<const ResultRow*> rows;
  for (const auto& row : results.rows) rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ResultRow* a, const ResultRow* b) { return a->rank - 1 < b->rank - 1; });
  if (rows.size() > most_plotted) rows.resize(most_plotted);
  return rows;
}

std::string subtitle(const Results& results) {
  std::string text = fmt::format("job {}", results.job.id);
  if (results.rows.size() > most_plotted) {
    return text + fmt::format(" · the best {} of {} trials", most_plotted, results.rows.size());
  }
  return text + " · " + count_text(results.rows.size(), "trial");
}

/// A metric's name may hold anything; a file's may not.
std::string file_name(const std::string& metric) {
  std::string name;
  for (char c : metric) name += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ? c : '-';
  return name == loss_name ? name + "-by-trial" : name;
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush())
    return error("cannot write {}: is the folder writable, the disk not full? Or choose another with --out", path);
  return {};
}

bool has_points(const LineChart& chart) {
  return std::any_of(chart.curves.begin(), chart.curves.end(),
                     [](const Curve& curve) { return !curve.points.empty(); });
}

void add_settings(BarChart& chart, const BySetting& grouped) {
  auto add = [&](const Setting& setting) {
    if (chart.bars.size() >= most_plotted) return;
    Bar bar{setting.label, {}, {}, {}, setting.published};
    if (setting.before) bar.before = setting.before->mean;
    if (setting.after) bar.after = setting.after->mean, bar.deviation = setting.after->deviation;
    chart.bars.push_back(std::move(bar));
  };
  for (const Setting& setting : grouped.settings) add(setting);
  if (grouped.mean) add(*grouped.mean);
  if (!grouped.averaged.empty()) {
    chart.subtitle += fmt::format(" · mean ± sample deviation over {}", fmt::join(grouped.averaged, " and "));
  }
  if (grouped.settings.size() > most_plotted) {
    chart.subtitle += fmt::format(" · the first {} of {} settings", most_plotted, grouped.settings.size());
  }
}

/// As if the metric were the sweep's. Errors: no trial has it.
Status rank_by(Results& results, const std::string& metric) {
  std::set<std::string> names;
  for (const ResultRow& row : results.rows) {
    for (const auto& [name, value] : row.trial.final) names.insert(name);
  }
  if (!names.contains(metric)) {
    return error("no trial of job {} has the metric '{}'; there are {}", results.job.id, metric,
                 fmt::join(names, ", "));
  }
  if (Status sorted = sort(results, metric, false); !sorted) return sorted;
  uint64_t rank = 0;
  for (ResultRow& row : results.rows) {
    row.before = value_of(row.trial.initial, metric);
    row.after = value_of(row.trial.final, metric);
    row.rank = row.after ? ++rank : 0;
  }
  results.job.metric = metric;
  results.published.clear();
  return {};
}

}  // namespace

BarChart metric_bars(const Results& results) {
  BarChart chart;
  const std::string& metric = results.job.metric;
  chart.title = fmt::format("{}: {} of the untrained and the trained model", results.job.name, metric);
  chart.subtitle = subtitle(results);
  chart.axis = metric;
  if (metric.starts_with("auroc")) {
    chart.reference = 0.5;
    chart.reference_name = "chance";
  }
  const BySetting grouped = by_setting(results);
  if (grouped.worthwhile()) {
    add_settings(chart, grouped);
    return chart;
  }
  for (const auto* row : best_rows(results)) {
    chart.bars.push_back({trial_label(row->trial, results), row->before, row->after});
  }
  return chart;
}

LineChart metric_curves(const Results& results, const std::string& metric, const std::string& title,
                        const std::map<uint64_t, std::vector<MetricPoint>>& series) {
  LineChart chart;
  chart.title = results.job.name + ": " + title;
  chart.subtitle = subtitle(results);
  chart.x_axis = "step of the optimiser";
  chart.y_axis = metric;
  for (const auto* row : best_rows(results)) {
    Curve curve{trial_label(row->trial, results), {}};
    if (auto found = series.find(row->trial.id.index); found != series.end()) {
      for (const auto& point : found->second) curve.points.push_back({static_cast<double>(point.step), point.value});
    }
    chart.curves.push_back(std::move(curve));
  }
  chart.log_y = suits_log_axis(chart.curves);
  return chart;
}

Result<std::vector<Figure>> job_figures(Client& client, const Results& asked, const std::string& other_metric) {
  Results results = asked;
  if (!other_metric.empty()) {
    if (Status ranked = rank_by(results, other_metric); !ranked) return ranked.error();
  }
  const std::string& metric = results.job.metric;
  std::map<uint64_t, std::vector<MetricPoint>> losses, values;
  for (const auto* row : best_rows(results)) {
    for (const auto& [name, into] : {std::pair{std::string(loss_name), &losses}, {metric, &values}}) {
      auto answer = client.ask<MetricSeries>(QueryMetrics{row->trial.id, name, 0, drawn_points});
      if (!answer) return answer.error();
      if (auto found = answer->series.find(name); found != answer->series.end())
        (*into)[row->trial.id.index] = found->second;
    }
  }
  std::vector<Figure> figures = {{file_name(metric), metric_bars(results)}};
  LineChart loss = metric_curves(results, loss_name, "training loss", losses);
  if (has_points(loss)) figures.push_back({"loss", std::move(loss)});
  LineChart curves = metric_curves(results, metric, metric + " while training", values);
  if (has_points(curves) && metric != loss_name) figures.push_back({"metric-over-steps", std::move(curves)});
  return figures;
}

Result<std::vector<std::string>> write_figures(const std::vector<Figure>& figures, const std::string& folder,
                                               FigureFormat format) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return error("cannot make the folder {}: {}; choose another with --out", folder, failed.message());
  std::vector<std::string> paths;
  for (const Figure& figure : figures) {
    const Drawing drawing = std::visit([](const auto& chart) { return draw(chart); }, figure.chart);
    const bool png = format == FigureFormat::png;
    paths.push_back((fs::path(folder) / (figure.name + (png ? ".png" : ".svg"))).lexically_normal().string());
    const Status written = png ? write_png(drawing, paths.back()) : write_file(paths.back(), to_svg(drawing));
    if (!written) return written.error();
  }
  return paths;
}

std::string to_text(const std::vector<Figure>& figures, const TextStyle& style) {
  std::string text;
  for (const Figure& figure : figures) {
    if (!text.empty()) text += '\n';
    text += std::visit([&](const auto& chart) { return hivq::to_text(chart, style); }, figure.chart);
  }
  return text;
}

std::map<uint64_t, LastLoss> newest_losses(Client& client, const JobDetail& detail) {
  std::map<uint64_t, LastLoss> losses;
  size_t asked = 0;
  for (const auto& trial : detail.trials) {
    if (trial.started == 0 || asked++ >= most_asked) continue;
    auto answer = client.ask<MetricSeries>(QueryMetrics{trial.id, loss_name, 1, 0});
    if (!answer) break;  // a table without losses is better than none
    auto found = answer->series.find(loss_name);
    if (found == answer->series.end() || found->second.empty()) continue;
    losses[trial.id.index] = {found->second.back().step, found->second.back().value};
  }
  return losses;
}

}  // namespace hivq::cli
