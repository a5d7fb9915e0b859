#include "jobs/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "jobs/table.h"

namespace hivq {

namespace {

// ---- Look ----

constexpr double page_width = 900;  // pixels
constexpr double margin = 28;
constexpr const char* ink = "#1f2328";
constexpr const char* muted = "#656d76";
constexpr const char* grid = "#e4e6e9";
constexpr const char* before_colour = "#b9c0c8";
constexpr const char* after_colour = "#0072b2";
constexpr const char* reference_colour = "#d55e00";
constexpr const char* published_colour = "#e69f00";
// Okabe & Ito without yellow, which is too faint on light paper.
constexpr std::array<const char*, 7> colours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#3b3b3b"};
constexpr std::array<const char*, 3> dashes = {"", "7 4", "2 3"};
constexpr size_t most_points = 320;  // of one curve

double text_width(std::string_view text, double size) { return 0.58 * size * static_cast<double>(display_width(text)); }

std::string fitted(std::string_view text, double size, double width) {
  return elide(text, static_cast<size_t>(std::max(1.0, width / (0.58 * size))));
}

// 12000 as 12k, 0.25 as 0.25; `step` says how many decimals tell neighbours apart.
std::string tick_label(double value, double step) {
  double size = std::abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return fmt::format("{:.0e}", value);
  for (auto [unit, name] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (step >= unit / 10 && size >= 10 * unit) return fmt::format("{:g}{}", value / unit, name);
  }
  int decimals = step > 0 && step < 1 ? static_cast<int>(std::ceil(-std::log10(step) - 1e-9)) : 0;
  return fmt::format("{:.{}f}", value == 0 ? 0 : value, std::min(decimals, 8));
}

std::string value_label(double value) {
  double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e5)) return fmt::format("{:.2e}", value);
  return size >= 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.3f}", value);
}

using Anchor = Drawing::Anchor;

Drawing page(double height, const std::string& title, const std::string& subtitle) {
  Drawing drawing{title, page_width, height, {}};
  constexpr double room = page_width - 2 * margin;
  drawing.shapes.push_back(Drawing::Text{margin, margin + 14, fitted(title, 19, room), 19, ink, Anchor::start, true});
  if (!subtitle.empty()) {
    drawing.shapes.push_back(Drawing::Text{margin, margin + 36, fitted(subtitle, 13, room), 13, muted});
  }
  return drawing;
}

// ---- Scales ----

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

struct Scale {
  double low, high;   // values
  double start, end;  // pixels
  bool log = false;
  double at(double value) const {
    double part = log ? std::log(std::max(value, low) / low) / std::log(high / low) : (value - low) / (high - low);
    return start + part * (end - start);
  }
};

// Room around the values, and some where they are all the same.
Range padded(Range range, bool log) {
  if (log) {
    double factor = range.high > range.low ? std::pow(range.high / range.low, 0.05) : 2;
    return {range.low / factor, range.high * factor};
  }
  double room = range.high > range.low ? 0.05 * (range.high - range.low) : std::max(std::abs(range.high) * 0.1, 0.1);
  return {range.low - room, range.high + room};
}

double step_of(const std::vector<double>& ticks) { return ticks.size() < 2 ? 1 : ticks[1] - ticks[0]; }

// Beyond this, arithmetic on the axes would overflow.
bool drawable(double value) { return std::abs(value) < 1e100; }
bool drawable(const PlotPoint& point) { return drawable(point.x) && drawable(point.y); }

// Means of equal stretches of x. Points that cannot be drawn are left out.
std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points) {
  std::vector<PlotPoint> kept;
  std::copy_if(points.begin(), points.end(), std::back_inserter(kept),
               [](const PlotPoint& point) { return drawable(point); });
  if (kept.size() <= most_points) return kept;
  double first = kept.front().x, width = (kept.back().x - first) / most_points;
  std::vector<PlotPoint> means;
  auto stretch_of = [&](const PlotPoint& p) {
    return width > 0 ? std::min(static_cast<size_t>(std::max(0.0, p.x - first) / width), most_points - 1) : 0;
  };
  for (size_t i = 0; i < kept.size();) {
    size_t stretch = stretch_of(kept[i]);
    PlotPoint sum;
    size_t count = 0;
    for (; i < kept.size() && stretch_of(kept[i]) == stretch; ++i, ++count) {
      sum.x += kept[i].x;
      sum.y += kept[i].y;
    }
    means.push_back({sum.x / static_cast<double>(count), sum.y / static_cast<double>(count)});
  }
  return means;
}

}  // namespace

std::vector<double> linear_ticks(double low, double high, int count) {
  if (!(high > low) || !std::isfinite(high - low) || count < 1) return {low};
  double rough = (high - low) / count;
  double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  double first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  if (!(low > 0) || !(high >= low) || !std::isfinite(high)) return {};
  auto with = [&](std::initializer_list<double> factors) {
    std::vector<double> ticks;
    for (int power = static_cast<int>(std::floor(std::log10(low)));
         power <= static_cast<int>(std::ceil(std::log10(high))); ++power) {
      for (double factor : factors) {
        double tick = factor * std::pow(10.0, power);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
      }
    }
    return ticks;
  };
  auto ticks = with({1});
  if (ticks.size() < 4) ticks = with({1, 2, 5});
  if (ticks.size() < 3) ticks = with({1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9});
  if (ticks.size() < 2) ticks = linear_ticks(low, high, 4);  // less than a half octave
  return ticks;
}

bool suits_log_axis(const std::vector<Curve>& curves) {
  Range range;
  for (const auto& curve : curves) {
    for (const auto& point : curve.points) {
      if (drawable(point)) range.include(point.y);
    }
  }
  return !range.empty() && range.low > 0 && range.high / range.low >= 8;
}

Drawing draw(const BarChart& chart) {
  constexpr double row = 40, thickness = 13, size = 13;
  auto finite = [](const std::optional<double>& value) { return value && drawable(*value); };
  Range range;
  range.include(0);
  bool has_before = false, has_after = false, has_published = false;
  double labels = 40;
  auto whisker = [&](const Bar& bar) {  // half its length; 0: none
    return finite(bar.after) && finite(bar.deviation) ? std::abs(*bar.deviation) : 0.0;
  };
  for (const auto& bar : chart.bars) {
    if (finite(bar.published)) range.include(*bar.published);
    if (whisker(bar) > 0) range.include(*bar.after - whisker(bar)), range.include(*bar.after + whisker(bar));
    has_published |= finite(bar.published);
    if (finite(bar.before)) range.include(*bar.before);
    if (finite(bar.after)) range.include(*bar.after);
    has_before |= finite(bar.before);
    has_after |= finite(bar.after);
    labels = std::max(labels, text_width(bar.label, size));
  }
  if (chart.reference && drawable(*chart.reference)) range.include(*chart.reference);
  if (range.high <= 1 && range.low >= 0 && range.high > 0.4) range.high = 1;  // shares and AUROCs: the whole axis
  if (range.low == range.high) range.high = 1;
  labels = std::min(labels, 300.0);

  const double lift = has_published ? 12 : 0;  // a long legend stands above the reference's name
  const double top = margin + (chart.subtitle.empty() ? 62 : 84) + lift;
  const double bottom = top + row * static_cast<double>(std::max<size_t>(1, chart.bars.size()));
  Drawing drawing = page(bottom + 62, chart.title, chart.subtitle);
  auto& shapes = drawing.shapes;
  Scale x{range.low, range.high, margin + labels + 14, page_width - margin - 52};
  auto ticks = linear_ticks(range.low, range.high, 6);
  for (double tick : ticks) {
    shapes.push_back(Drawing::Line{x.at(tick), top - 4, x.at(tick), bottom, tick == 0 ? muted : grid});
    shapes.push_back(
        Drawing::Text{x.at(tick), bottom + 18, tick_label(tick, step_of(ticks)), 12, muted, Anchor::middle});
  }
  shapes.push_back(Drawing::Text{(x.start + x.end) / 2, bottom + 42, chart.axis, 13, ink, Anchor::middle});

  double legend = x.start;
  auto entry = [&](const std::string& name, const char* colour) {
    shapes.push_back(Drawing::Box{legend, top - 28 - lift, 12, 12, colour, 2});
    shapes.push_back(Drawing::Text{legend + 18, top - 18 - lift, name, 12, ink});
    legend += 18 + text_width(name, 12) + 24;
  };
  if (has_after) entry(chart.after, after_colour);
  if (has_before) entry(chart.before, before_colour);
  if (has_published) entry("published", published_colour);

  if (chart.reference && drawable(*chart.reference)) {
    double at = x.at(*chart.reference);
    shapes.push_back(Drawing::Line{at, top - 4, at, bottom, reference_colour, 1.5, "5 4"});
    shapes.push_back(Drawing::Text{at, top - 10, chart.reference_name, 12, reference_colour, Anchor::middle});
  }
  double middle = top + row / 2;
  for (const auto& bar : chart.bars) {
    shapes.push_back(
        Drawing::Text{x.start - 10, middle + 4.5, fitted(bar.label, size, labels + 2), size, ink, Anchor::end});
    bool both = finite(bar.before) && finite(bar.after);
    auto bar_at = [&](double value, double y, const char* colour, const char* text_colour, double spread) {
      double from = std::min(x.at(0), x.at(value)), to = std::max(x.at(0), x.at(value));
      shapes.push_back(Drawing::Box{from, y, std::max(to - from, 0.5), thickness, colour, 2});
      if (spread > 0) {
        double left = x.at(value - spread), right = x.at(value + spread), centre = y + thickness / 2;
        shapes.push_back(Drawing::Line{left, centre, right, centre, ink, 1.5});
        for (double end : {left, right}) shapes.push_back(Drawing::Line{end, centre - 4, end, centre + 4, ink, 1.5});
        to = std::max(to, right);
      }
      shapes.push_back(Drawing::Text{to + 6, y + thickness - 2.5, value_label(value), 11.5, text_colour, Anchor::start,
                                     false, true});
    };
    if (finite(bar.after))
      bar_at(*bar.after, both ? middle - thickness - 0.5 : middle - thickness / 2, after_colour, ink, whisker(bar));
    if (finite(bar.before)) bar_at(*bar.before, both ? middle + 0.5 : middle - thickness / 2, before_colour, muted, 0);
    if (finite(bar.published)) {
      double at = x.at(*bar.published);
      shapes.push_back(Drawing::Line{at, middle - thickness - 3, at, middle + thickness + 3, published_colour, 3});
    }
    if (!finite(bar.before) && !finite(bar.after))
      shapes.push_back(Drawing::Text{x.at(0) + 6, middle + 4.5, "no value", 11.5, muted});
    middle += row;
  }
  if (chart.bars.empty())
    shapes.push_back(
        Drawing::Text{(x.start + x.end) / 2, middle + 4, "nothing to show yet", 13, muted, Anchor::middle});
  return drawing;
}

Drawing draw(const LineChart& chart) {
  constexpr double legend_width = 280, legend_row = 20;
  std::vector<std::vector<PlotPoint>> lines;
  Range xs, ys;
  bool means = false;
  for (const auto& curve : chart.curves) {
    lines.push_back(thinned(curve.points));
    means |= curve.points.size() > most_points;
    for (const auto& point : lines.back()) {
      xs.include(point.x);
      ys.include(point.y);
    }
  }
  const bool empty = ys.empty();
  if (empty) xs = ys = {0, 1};
  const bool log = chart.log_y && ys.low > 0;
  if (xs.low == xs.high) xs = padded(xs, false);
  if (log) ys.low = std::max(ys.low, ys.high * 1e-12);
  ys = padded(ys, log);

  std::string subtitle = chart.subtitle;
  if (means)
    subtitle += (subtitle.empty() ? "" : " · ") + std::string("long curves are drawn as means of short stretches");
  const double top = margin + (subtitle.empty() ? 40 : 62);
  const double bottom = top + std::max(340.0, legend_row * static_cast<double>(chart.curves.size()) + 8);
  Drawing drawing = page(bottom + 62, chart.title, subtitle);
  auto& shapes = drawing.shapes;
  Scale x{xs.low, xs.high, margin + 66, page_width - margin - legend_width - 22};
  Scale y{ys.low, ys.high, bottom, top, log};

  auto y_ticks = log ? log_ticks(ys.low, ys.high) : linear_ticks(ys.low, ys.high, 6);
  for (double tick : y_ticks) {
    shapes.push_back(Drawing::Line{x.start, y.at(tick), x.end, y.at(tick), grid});
    std::string label = log ? fmt::format("{:g}", tick) : tick_label(tick, step_of(y_ticks));
    shapes.push_back(Drawing::Text{x.start - 8, y.at(tick) + 4, label, 12, muted, Anchor::end});
  }
  auto x_ticks = linear_ticks(xs.low, xs.high, 7);
  for (double tick : x_ticks) {
    shapes.push_back(Drawing::Line{x.at(tick), bottom, x.at(tick), bottom + 5, muted});
    shapes.push_back(
        Drawing::Text{x.at(tick), bottom + 20, tick_label(tick, step_of(x_ticks)), 12, muted, Anchor::middle});
  }
  shapes.push_back(Drawing::Line{x.start, bottom, x.end, bottom, muted});
  shapes.push_back(Drawing::Text{(x.start + x.end) / 2, bottom + 44, chart.x_axis, 13, ink, Anchor::middle});
  shapes.push_back(Drawing::Text{margin + 6, (top + bottom) / 2, chart.y_axis + (log ? " (logarithmic)" : ""), 13, ink,
                                 Anchor::middle, false, false, true});
  if (empty)
    shapes.push_back(
        Drawing::Text{(x.start + x.end) / 2, (top + bottom) / 2, "nothing to show yet", 13, muted, Anchor::middle});

  for (size_t i = lines.size(); i-- > 0;) {  // the first lies on top
    const char* colour = colours[i % colours.size()];
    std::vector<PlotPoint> pixels;
    for (const auto& point : lines[i]) pixels.push_back({x.at(point.x), y.at(point.y)});
    if (pixels.size() > 1) shapes.push_back(Drawing::Path{pixels, colour, dashes[i / colours.size() % dashes.size()]});
    if (pixels.size() <= 24) {
      for (const auto& point : pixels) shapes.push_back(Drawing::Dot{point.x, point.y, colour});
    }
  }
  double at = top + 10;
  for (size_t i = 0; i < lines.size(); ++i, at += legend_row) {
    double left = x.end + 22;
    const char* dash = dashes[i / colours.size() % dashes.size()];
    shapes.push_back(Drawing::Line{left, at, left + 26, at, colours[i % colours.size()], 2.5, dash});
    std::string last = lines[i].empty() ? "–" : value_label(lines[i].back().y);
    shapes.push_back(
        Drawing::Text{left + 34, at + 4, fitted(chart.curves[i].label, 12, legend_width - 34 - 62), 12, ink});
    shapes.push_back(Drawing::Text{page_width - margin, at + 4, last, 12, muted, Anchor::end});
  }
  return drawing;
}

}  // namespace hivq
