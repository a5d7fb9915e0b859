#pragma once

// The same figures for a terminal, of Unicode's block and braille characters. Pure.

#include <span>
#include <string>

#include "jobs/plot.h"

namespace hivq {

struct TextStyle {
  size_t width = 80;   // columns
  size_t height = 16;  // lines of a line chart's plane
  bool colour = false;
};

/// A line a bar: the value after as a bar, that before as a mark in it.
std::string to_text(const BarChart& chart, const TextStyle& style);

/// Curves of braille dots, eight to a character. Each ends in its letter of the legend below.
std::string to_text(const LineChart& chart, const TextStyle& style);

/// A bar over a share of `width` columns, in eighths of a block, so that it moves smoothly; full only at 1.
std::string text_bar(double share, size_t width);

/// One character for each of at most `width` equal stretches, as high as their mean: ▁▂▃▄▅▆▇█ from the least to the
/// largest. Values that are not finite are blanks. Empty without finite values.
std::string sparkline(std::span<const double> values, size_t width);

}  // namespace hivq
