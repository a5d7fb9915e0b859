#pragma once

// A curve's points as bytes, exactly: steps as differences of differences, values as XOR with the one before (Gorilla;
// Pelkonen et al., VLDB 2015, section 4.1). Steps that run regularly take a bit each; values that were float32 once
// take about half of their 8 bytes.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/messages.h"
#include "common/result.h"

namespace hivq {

/// One block. The steps rise strictly and are not negative; values are kept bit by bit, NaN too. No points: no bytes.
std::string encode_points(std::span<const MetricPoint> points);

/// The points of one or more blocks that stand one behind another, by rising step; where a step comes again, its last
/// value counts. Errors: bytes that are no blocks.
Result<std::vector<MetricPoint>> decode_points(std::string_view blocks);

/// Puts points into the order of their steps; of those with the same step the last stays.
void sort_points(std::vector<MetricPoint>& points);

/// What a row holds once `rows` have come into it, the oldest first: one block. Where one of them is no block they stand
/// side by side, so that nothing is lost that a later look could still explain.
std::string merge_points(std::span<const std::string_view> rows);

}  // namespace hivq
