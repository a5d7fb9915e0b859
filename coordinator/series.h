#pragma once

// Curves, read from a store: RocksDB's, or the one that the simulation keeps in memory. A source has scan() and
// last_before() as Store has them.

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/points.h"
#include "coordinator/rows.h"

namespace hivq {

using Series = std::map<std::string, std::vector<MetricPoint>>;  // by the metric's name, by rising step

/// The points of a row of Family::points. Errors: the row is damaged.
inline Result<std::vector<MetricPoint>> points_of(std::string_view key, std::string_view row) {
  if (key.size() < 26) return error("a key of 'points' has {} bytes", key.size());
  auto points = decode_points(row);
  if (!points) {
    return error("the curve {} of trial {} is damaged: {}", points_name(key), to_string(trial_at(key)),
                 points.error().message);
  }
  return points;
}

/// Calls `each(trial, name, points)` for the rows of all curves whose key begins with `prefix` (of a job, a trial, or
/// nothing), in the order of trial, name and step; a curve comes in several pieces. It ends early where `each` returns
/// false. Errors: of the source, or a row that is damaged.
template <typename Source, typename Each>
Status visit_points(const Source& source, const std::string& prefix, const Each& each) {
  Status status;
  Status scanned = source.scan(Family::points, prefix, [&](std::string_view key, std::string_view row) {
    auto points = points_of(key, row);
    if (points) return static_cast<bool>(each(trial_at(key), points_name(key), *points));
    status = points.error();
    return false;
  });
  return scanned ? status : scanned;
}

/// The first key behind all that begin with `prefix`.
inline std::string behind(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

/// The newest points of each metric of a trial whose name begins with `prefix`, so many at most: read from the end of
/// each curve, so that a long one costs no more than a short one. Errors: as of visit_points().
template <typename Source>
Result<Series> read_newest(const Source& source, const TrialId& trial, const std::string& prefix, uint64_t newest) {
  Series series;
  const std::string first = key_of(trial) + prefix;
  std::string before = behind(first);
  while (true) {
    auto row = source.last_before(Family::points, before);
    if (!row) return row.error();
    if (!*row || !(*row)->first.starts_with(first)) return series;
    const auto& [key, value] = **row;
    auto points = points_of(key, value);
    if (!points) return points.error();
    auto& found = series[std::string(points_name(key))];
    const auto wanted = static_cast<int64_t>(std::min<uint64_t>(points->size(), newest - found.size()));
    found.insert(found.begin(), points->end() - wanted, points->end());
    before = found.size() < newest ? key : key.substr(0, key.size() - 8);
  }
}

/// The curves of a trial whose names begin with `prefix`; of each the `newest` last points, 0: all. Errors: as of
/// visit_points().
template <typename Source>
Result<Series> read_series(const Source& source, const TrialId& trial, const std::string& prefix, uint64_t newest = 0) {
  if (newest > 0) return read_newest(source, trial, prefix, newest);
  Series series;
  Status read = visit_points(source, key_of(trial) + prefix, [&](const TrialId&, std::string_view name, auto& points) {
    auto& curve = series[std::string(name)];
    curve.insert(curve.end(), points.begin(), points.end());
    return true;
  });
  if (!read) return read.error();
  return series;
}

/// At most `most` points of a curve, at least four, that draw the same picture: of equal spans of steps the first, the
/// least, the largest and the last (M4; Jugel et al., "M4: a visualization-oriented time series data aggregation", VLDB
/// 2014). NaN counts as the largest, so that it shows. All points where there are no more.
inline std::vector<MetricPoint> downsample(std::vector<MetricPoint> points, uint64_t most) {
  most = std::max<uint64_t>(most, 4);
  if (points.size() <= most) return points;
  const auto less = [](const MetricPoint& a, const MetricPoint& b) {
    return std::isnan(a.value) || std::isnan(b.value) ? std::isnan(b.value) && !std::isnan(a.value) : a.value < b.value;
  };
  const uint64_t spans = most / 4;
  const auto first_step = static_cast<uint64_t>(points.front().step);
  const uint64_t width = (static_cast<uint64_t>(points.back().step) - first_step) / spans + 1;
  const auto span_of = [&](const MetricPoint& point) { return (static_cast<uint64_t>(point.step) - first_step) / width; };
  std::vector<MetricPoint> kept;
  for (auto begin = points.begin(); begin != points.end();) {
    const auto end = std::find_if(begin, points.end(), [&](const auto& p) { return span_of(p) != span_of(*begin); });
    const auto [least, largest] = std::minmax_element(begin, end, less);
    std::array<std::vector<MetricPoint>::iterator, 4> four{begin, least, largest, end - 1};
    std::ranges::sort(four);
    const auto last = std::unique(four.begin(), four.end());
    std::for_each(four.begin(), last, [&](auto point) { kept.push_back(*point); });
    begin = end;
  }
  return kept;
}

}  // namespace hivq
