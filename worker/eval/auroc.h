#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace hivq {

/// The area under the receiver operating characteristic: the probability that an anomalous sample scores higher than a
/// normal one, where a tie counts one half. Exact (rank based) and never flipped when below 0.5.
/// `anomalous` holds 0 or 1 for each score; the lengths must agree. Nothing where one of the two kinds is absent, or
/// where a score is NaN, since NaN has no rank.
std::optional<double> auroc(std::span<const float> scores, std::span<const uint8_t> anomalous);

}  // namespace hivq
