#include "worker/figures/figures.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "worker/figures/canvas.h"
#include "worker/figures/heat.h"

namespace hivq {
namespace {

using Align = Canvas::Align;
constexpr Colour kBlue{0.12, 0.47, 0.71}, kRed{0.84, 0.15, 0.16}, kGrey{0.85, 0.85, 0.85}, kInk{0.2, 0.2, 0.2};

constexpr size_t kMostClasses = 150;  // a page has at most 32,767 pixels a side

Status too_many(size_t classes) {
  return error("a figure has room for {} classes, not for {}; evaluate some of them: data.classes", kMostClasses,
               classes);
}

/// A round number of which five at most reach `top`.
double tick_of(double top) {
  const double raw = top / 5, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

double highest(std::span<const ClassError> classes) {
  double top = 0;
  for (const ClassError& each : classes) top = std::max({top, each.normal.value_or(0), each.anomalous.value_or(0)});
  return top > 0 && std::isfinite(top) ? top : 1;
}

/// The name, cut where it is wider than there is room.
std::string fitting(const Canvas& canvas, std::string name, double size, double room) {
  if (canvas.text_width(name, size) <= room) return name;
  while (name.size() > 1 && canvas.text_width(name + "…", size) > room) {
    do name.pop_back();
    while (!name.empty() && (name.back() & 0xc0) == 0x80);
  }
  return name + "…";
}

}  // namespace

Status draw_figure1(const std::string& path, const std::string& title, std::span<const ClassError> classes) {
  if (classes.size() > kMostClasses) return too_many(classes.size());
  constexpr double kLeft = 70, kTop = 60, kHeight = 320, kGroup = 90, kBar = 28;
  const auto groups = static_cast<double>(classes.size());
  const double width = std::max(kGroup * groups, 360.0), base = kTop + kHeight;
  Canvas canvas(static_cast<int64_t>(kLeft + width + 30), static_cast<int64_t>(base + 60));
  canvas.text(kLeft, 28, title, 16, Align::left, kInk);

  const double tick = tick_of(highest(classes)), top = tick * std::ceil(highest(classes) / tick);
  const auto y_of = [&](double value) { return base - kHeight * value / top; };
  for (double value = 0; value <= top + tick / 2; value += tick) {
    canvas.line(kLeft, y_of(value), kLeft + width, y_of(value), kGrey);
    canvas.text(kLeft - 8, y_of(value) + 4, fmt::format("{:.3g}", value), 12, Align::right, kInk);
  }
  const double step = width / std::max(groups, 1.0);
  for (size_t i = 0; i < classes.size(); ++i) {
    const double middle = kLeft + step * (static_cast<double>(i) + 0.5);
    const auto bar = [&](const std::optional<double>& value, double x, Colour colour) {
      if (value && std::isfinite(*value)) canvas.rectangle(x, y_of(*value), kBar, base - y_of(*value), colour);
    };
    bar(classes[i].normal, middle - kBar - 1, kBlue);
    bar(classes[i].anomalous, middle + 1, kRed);
    canvas.text(middle, base + 20, fitting(canvas, classes[i].name, 12, step - 6), 12, Align::centre, kInk);
  }
  canvas.rectangle(kLeft, base + 34, 12, 12, kBlue);
  canvas.text(kLeft + 18, base + 44, "normal test images", 12, Align::left, kInk);
  canvas.rectangle(kLeft + 170, base + 34, 12, 12, kRed);
  canvas.text(kLeft + 188, base + 44, "anomalous test images", 12, Align::left, kInk);
  return canvas.save_png(path);
}

Status draw_figure2(const std::string& path, const std::string& title, std::span<const ExampleRow> rows) {
  if (rows.size() > kMostClasses) return too_many(rows.size());
  constexpr double kCell = 160, kGap = 8, kLeft = 120, kTop = 70, kRow = kCell + 24;
  const char* const columns[] = {"Normal", "Anomaly", "Recon", "GT", "Pred"};
  Canvas canvas(static_cast<int64_t>(kLeft + 5 * (kCell + kGap)),
                static_cast<int64_t>(kTop + kRow * static_cast<double>(rows.size())));
  canvas.text(12, 26, title, 16, Align::left, kInk);
  for (int i = 0; i < 5; ++i) {
    canvas.text(kLeft + i * (kCell + kGap) + kCell / 2, kTop - 10, columns[i], 14, Align::centre, kInk);
  }
  HeatRange range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const ExampleRow& row : rows) {
    range.low = std::min(range.low, row.map.min().item<double>());
    range.high = std::max(range.high, row.map.max().item<double>());
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const ExampleRow& row = rows[i];
    const double y = kTop + kRow * static_cast<double>(i);
    const auto cell = [&](int column, const at::Tensor& pixels) {
      canvas.image(kLeft + column * (kCell + kGap), y, kCell, kCell, pixels);
    };
    canvas.text(12, y + kCell / 2, fitting(canvas, row.name, 14, kLeft - 20), 14, Align::left, kInk);
    cell(0, row.normal);
    cell(1, row.anomalous);
    cell(2, row.reconstruction);
    if (row.truth.defined()) {
      cell(3, row.truth.gt(0).to(at::kByte).mul(255).unsqueeze(2).expand({-1, -1, 3}));
    } else {
      canvas.text(kLeft + 3 * (kCell + kGap) + kCell / 2, y + kCell / 2, "whole image", 12, Align::centre, kInk);
    }
    cell(4, heat_overlay(row.anomalous, row.map, range));
    canvas.text(kLeft + kCell + kGap + kCell / 2, y + kCell + 15, fitting(canvas, row.anomalous_name, 11, kCell), 11,
                Align::centre, kInk);
  }
  return canvas.save_png(path);
}

}  // namespace hivq
