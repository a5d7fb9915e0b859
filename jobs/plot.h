#pragma once

// Figures of bars and curves. Pure: values in, shapes or text out. Colours are told apart by colour-blind readers too
// (Okabe & Ito).

#include <optional>
#include <string>
#include <vector>

#include "jobs/drawing.h"

namespace hivq {

/// A value before and after, such as the untrained and the trained model's metric. Values that are missing or not
/// finite are left out.
struct Bar {
  std::string label;
  std::optional<double> before, after;
  std::optional<double> deviation = {};  // of `after`: a whisker to both sides
  std::optional<double> published = {};  // a mark: what others report
};

struct BarChart {
  std::string title, subtitle;
  std::string axis;  // what the values are
  std::string before = "untrained", after = "trained";
  std::optional<double> reference;  // a line, such as 0.5: chance
  std::string reference_name;
  std::vector<Bar> bars;  // from top to bottom
};

Drawing draw(const BarChart& chart);

struct Curve {
  std::string label;
  std::vector<PlotPoint> points;  // in the order of x
};

struct LineChart {
  std::string title, subtitle;
  std::string x_axis, y_axis;
  bool log_y = false;  // ignored when a value is not positive
  std::vector<Curve> curves;
};

/// A curve of more points than can be seen is drawn as the means of equal stretches of x; the figure then says so.
Drawing draw(const LineChart& chart);

/// A logarithmic axis is sensible: all values are positive, and the largest is many times the smallest.
bool suits_log_axis(const std::vector<Curve>& curves);

/// Round values within [low, high], about `count` of them, in rising order: steps of 1, 2 or 5 times a power of ten.
std::vector<double> linear_ticks(double low, double high, int count);
/// Powers of ten within [low, high], with 2 and 5 times them where these are few.
std::vector<double> log_ticks(double low, double high);

}  // namespace hivq
