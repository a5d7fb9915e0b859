#pragma once

// Answers as JSON, for programs that read what hivq prints.

#include <nlohmann/json.hpp>
#include <string>

#include "common/messages.h"
#include "jobs/cli/results.h"
#include "jobs/cli/settings.h"

namespace hivq::cli {

nlohmann::ordered_json to_json(const JobView& job);
nlohmann::ordered_json to_json(const TrialView& trial);
nlohmann::ordered_json to_json(const JobDetail& detail);
nlohmann::ordered_json to_json(const Results& results);
nlohmann::ordered_json to_json(const BySetting& settings);
nlohmann::ordered_json to_json(const MetricSeries& series);
nlohmann::ordered_json to_json(const LogLines& lines);
nlohmann::ordered_json to_json(const GangView& gang);

/// Indented; bytes that are no UTF-8 become U+FFFD, values that are not finite null.
std::string text_of(const nlohmann::ordered_json& json);

}  // namespace hivq::cli
