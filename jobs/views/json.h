#pragma once

// Answers as JSON, for programs that read what hivq prints.

#include <nlohmann/json.hpp>
#include <string>

#include "common/messages.h"
#include "jobs/importance.h"
#include "jobs/views/compare.h"
#include "jobs/views/results.h"
#include "jobs/views/settings.h"

namespace hivq {

nlohmann::ordered_json to_json(const JobView& job);
nlohmann::ordered_json to_json(const TrialView& trial);
nlohmann::ordered_json to_json(const JobDetail& detail);
nlohmann::ordered_json to_json(const ResultRow& row);
nlohmann::ordered_json to_json(const Results& results);
nlohmann::ordered_json to_json(const BySetting& settings);
/// {steps: [], values: []}
nlohmann::ordered_json to_json(const std::vector<MetricPoint>& points);
nlohmann::ordered_json to_json(const MetricSeries& series);
nlohmann::ordered_json to_json(const LogLines& lines);
nlohmann::ordered_json to_json(const GangView& gang);
nlohmann::ordered_json to_json(const Estimate& estimate);
nlohmann::ordered_json to_json(const DrainSet& done, bool drained);
nlohmann::ordered_json to_json(const Comparison& comparison);
nlohmann::ordered_json to_json(const Importance& found, const std::string& metric);
nlohmann::ordered_json to_json(const SqlValue& value);

/// Indented; bytes that are no UTF-8 become U+FFFD, values that are not finite null.
std::string text_of(const nlohmann::ordered_json& json);

}  // namespace hivq
