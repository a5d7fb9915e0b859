#include "jobs/plot_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "jobs/table.h"

namespace hivq {

namespace {

constexpr size_t kMostCurves = 26;                                         // a letter each
constexpr std::array<int, 7> kColours = {33, 166, 36, 175, 178, 74, 250};  // of 256: Okabe & Ito, about

std::string coloured(const std::string& text, size_t curve, bool colour) {
  return colour ? fmt::format("\033[38;5;{}m{}\033[0m", kColours[curve % kColours.size()], text) : text;
}

std::string padded(const std::string& text, size_t width, Align align = Align::left) {
  const std::string cut = elide(printable(text), width);
  const std::string space(width - display_width(cut), ' ');
  return align == Align::left ? cut + space : space + cut;
}

std::string number(double value) { return fmt::format("{:.4g}", value); }

/// From 0 to 1 within an interval, or its logarithm.
struct Extent {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool log = false;
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  double at(double value) const {
    if (high <= low) return 0.5;
    return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  }
  double value_at(double share) const {
    if (high <= low) return low;
    return log ? low * std::pow(high / low, share) : low + share * (high - low);
  }
};

bool drawable(const PlotPoint& point) { return std::abs(point.x) < 1e100 && std::abs(point.y) < 1e100; }

/// Dots, 2 × 4 to a character, each character with the curve that set it last; a letter hides the dots below it.
class Plane {
 public:
  Plane(size_t width, size_t height) : width_(width), height_(height), cells_(width * height) {}

  /// Coordinates from 0 to 1, from the lower left corner.
  void line(double x1, double y1, double x2, double y2, size_t curve) {
    const double across = static_cast<double>(2 * width_ - 1), up = static_cast<double>(4 * height_ - 1);
    const double dx = (x2 - x1) * across, dy = (y2 - y1) * up;
    const int dots = static_cast<int>(std::ceil(std::max({std::abs(dx), std::abs(dy), 1.0})));
    for (int i = 0; i <= dots; ++i) {
      const double share = static_cast<double>(i) / dots;
      dot(std::lround(x1 * across + share * dx), std::lround((1 - y1) * up - share * dy), curve);
    }
  }
  void letter(double x, double y, size_t curve) {
    auto column = static_cast<size_t>(std::lround(x * static_cast<double>(width_ - 1)));
    const auto row = static_cast<size_t>(std::lround((1 - y) * static_cast<double>(height_ - 1)));
    while (column > 0 && cell(column, row).letter != 0) --column;
    cell(column, row).letter = static_cast<char>('a' + curve);
    cell(column, row).curve = curve;
  }
  std::string row(size_t row, bool colour) const {
    std::string text;
    for (size_t column = 0; column < width_; ++column) {
      const Cell& found = cells_[row * width_ + column];
      if (found.letter == 0 && found.dots == 0) {
        text += ' ';
      } else {
        text += coloured(found.letter != 0 ? std::string(1, found.letter) : braille(found.dots), found.curve, colour);
      }
    }
    return text;
  }

 private:
  struct Cell {
    unsigned dots = 0;
    size_t curve = 0;
    char letter = 0;
  };
  Cell& cell(size_t column, size_t row) { return cells_[row * width_ + column]; }
  void dot(long x, long y, size_t curve) {
    constexpr unsigned kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    Cell& found = cell(static_cast<size_t>(x) / 2, static_cast<size_t>(y) / 4);
    found.dots |= kBits[y % 4][x % 2];
    found.curve = curve;
  }
  static std::string braille(unsigned dots) {  // U+2800 and on, as UTF-8
    return {static_cast<char>(0xe2), static_cast<char>(0xa0 | dots >> 6), static_cast<char>(0x80 | (dots & 0x3f))};
  }
  size_t width_, height_;
  std::vector<Cell> cells_;
};

std::string heading(const std::string& title, const std::string& subtitle, const TextStyle& style) {
  std::string text = tinted(elide(printable(title), style.width), Tint::bold, style.colour) + '\n';
  if (!subtitle.empty()) text += tinted(elide(printable(subtitle), style.width), Tint::dim, style.colour) + '\n';
  return text + '\n';
}

}  // namespace

std::string to_text(const BarChart& chart, const TextStyle& style) {
  std::string text = heading(chart.title, chart.subtitle, style);
  const auto finite = [](const std::optional<double>& value) { return value && std::isfinite(*value); };
  Extent axis;
  axis.include(0);
  size_t labels = 0;
  for (const Bar& bar : chart.bars) {
    for (const auto& value : {bar.before, bar.after}) {
      if (finite(value)) axis.include(*value);
    }
    labels = std::max(labels, display_width(printable(bar.label)));
  }
  if (chart.bars.empty()) return text + "nothing to show yet\n";
  if (axis.high <= 1 && axis.low >= 0 && axis.high > 0.4) axis.high = 1;  // shares and AUROCs: the whole axis
  labels = std::min(labels, style.width / 4);
  constexpr size_t kValues = 24, kLeast = 12;  // `0.5123 → 0.9876 ± 0.001`; a bar
  const size_t room = std::max(kLeast, style.width - std::min(style.width, labels + kValues + 4));
  for (const Bar& bar : chart.bars) {
    std::string drawn = finite(bar.after) ? text_bar(axis.at(*bar.after), room) : "";
    drawn += std::string(room - display_width(drawn), ' ');
    std::string values = finite(bar.after) ? number(*bar.after) : "–";
    if (finite(bar.deviation)) values += " ± " + fmt::format("{:.2g}", *bar.deviation);
    if (finite(bar.before)) values = number(*bar.before) + " → " + values;
    text += padded(bar.label, labels) + "  " + tinted(drawn, Tint::accent, style.colour) + "  " +
            elide(values, kValues) + '\n';
  }
  text += std::string(labels + 2, ' ') + padded(number(axis.low), room / 2) +
          padded(number(axis.high), room - room / 2, Align::right);
  return text + "\n" + std::string(labels + 2, ' ') +
         elide(fmt::format("{}: {} → {}", printable(chart.axis), chart.before, chart.after), room + kValues) + '\n';
}

std::string to_text(const LineChart& chart, const TextStyle& style) {
  Extent x, y;
  for (const Curve& curve : chart.curves) {
    for (const auto& point : curve.points) {
      if (drawable(point)) x.include(point.x), y.include(point.y);
    }
  }
  std::string text = heading(chart.title, chart.subtitle, style);
  if (y.empty()) return text + "nothing to show yet\n";
  y.log = chart.log_y && y.low > 0;
  constexpr size_t kTicks = 9;
  const size_t width = std::max<size_t>(20, style.width - std::min(style.width, kTicks + 3));
  Plane plane(width, style.height);
  const size_t shown = std::min(chart.curves.size(), kMostCurves);
  for (size_t c = shown; c-- > 0;) {  // the first lies on top
    const PlotPoint* last = nullptr;
    for (const auto& point : chart.curves[c].points) {
      if (!drawable(point)) continue;
      const PlotPoint& from = last != nullptr ? *last : point;
      plane.line(x.at(from.x), y.at(from.y), x.at(point.x), y.at(point.y), c);
      last = &point;
    }
  }
  for (size_t c = 0; c < shown; ++c) {
    const auto& points = chart.curves[c].points;
    const auto last = std::find_if(points.rbegin(), points.rend(), [](const auto& point) { return drawable(point); });
    if (last != points.rend()) plane.letter(x.at(last->x), y.at(last->y), c);
  }
  text += padded(chart.y_axis + (y.log ? " (logarithmic)" : ""), style.width) + '\n';
  for (size_t row = 0; row < style.height; ++row) {
    const bool tick = row % 5 == 0 || row + 1 == style.height;
    const double share = 1 - static_cast<double>(row) / static_cast<double>(std::max<size_t>(style.height, 2) - 1);
    text += padded(tick ? number(y.value_at(share)) : "", kTicks, Align::right);
    text += (tick ? " ┤" : " │") + plane.row(row, style.colour) + '\n';
  }
  text += std::string(kTicks + 1, ' ') + "└";
  for (size_t i = 0; i < width; ++i) text += "─";
  const std::string ends = padded(number(x.low), 10), middle = elide(printable(chart.x_axis), width - 20);
  text += '\n' + std::string(kTicks + 2, ' ') + ends + padded(middle, width - 20) +
          padded(number(x.high), 10, Align::right);
  text += "\n\n";
  for (size_t c = 0; c < shown; ++c) {
    const auto& points = chart.curves[c].points;
    const std::string value = points.empty() ? "–" : number(points.back().y);
    text += fmt::format("  {}  {}  {}\n", coloured(std::string(1, static_cast<char>('a' + c)), c, style.colour),
                        padded(chart.curves[c].label, std::min<size_t>(60, style.width / 2)), value);
  }
  return text;
}

std::string text_bar(double share, size_t width) {
  constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(8 * width));
  std::string text;
  for (size_t i = 0; i < filled / 8; ++i) text += "█";
  return text + kParts[filled % 8];
}

std::string sparkline(std::span<const double> values, size_t width) {
  constexpr const char* kHeights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  Extent axis;
  for (const double value : values) {
    if (std::isfinite(value)) axis.include(value);
  }
  if (axis.empty() || width == 0) return "";
  const size_t shown = std::min(width, values.size());
  std::string text;
  for (size_t i = 0; i < shown; ++i) {
    double sum = 0, count = 0;
    for (size_t at = i * values.size() / shown; at < (i + 1) * values.size() / shown; ++at) {
      if (std::isfinite(values[at])) sum += values[at], ++count;
    }
    text += count == 0 ? " " : kHeights[static_cast<size_t>(std::lround(7 * axis.at(sum / count)))];
  }
  return text;
}

}  // namespace hivq
