#pragma once

// Fills a feature file together with the other processes of the host that need it, or maps it where it is there
// already.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/result.h"
#include "worker/data/feature_file.h"
#include "worker/data/feature_set.h"

namespace hivq {

/// Computes rows [first, first + rows.size() / row_floats) of the file. Must be a pure function of `first` and the
/// size.
using ComputeRows = std::function<Status(int64_t first, std::span<float> rows)>;

/// Maps `<folder>/<key>.features`; where it is absent or damaged, computes it first. Callers in any number of processes
/// and threads share the work: each takes the next shard that nobody works on, under a lock that the kernel gives back
/// when its holder dies, so a killed process costs only its own shard. All of them end with the same mapped file.
/// Before a new file is begun, others are removed as feature_eviction.h says, so that the folder stays within `limit`
/// bytes (0: no limit). `compute` is called for a few rows at a time. `progress` counts the rows that any process has
/// finished. Errors: the folder cannot be written; the disk has no room; what `compute` says.
Result<std::shared_ptr<const MappedFeatures>> shared_features(const std::string& folder, const FeatureLayout& layout,
                                                              const ComputeRows& compute,
                                                              const FeatureProgress& progress, size_t limit = 0);

}  // namespace hivq
