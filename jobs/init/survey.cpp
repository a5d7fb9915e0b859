#include "jobs/init/survey.h"

#include <nlohmann/json.hpp>

namespace hivq::init {

Result<Survey> read_survey(std::string_view lines) {
  Survey survey;
  bool ended = false;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    try {
      if (json.contains("file")) {
        survey.images.push_back({json.at("file").get<std::string>(), json.value("width", int64_t{0}),
                                 json.value("height", int64_t{0}), json.value("problem", "")});
      } else if (json.contains("other")) {
        survey.other.push_back(json.at("other").get<std::string>());
      } else if (json.contains("end")) {
        ended = true;
        survey.decoded = json.value("decoded", uint64_t{0});
        survey.gpus = json.value("gpus", uint64_t{0});
        survey.weights = json.value("weights", std::vector<std::string>());
      }
    } catch (const nlohmann::json::exception& wrong) {
      return error("hivq-worker's survey cannot be read ({}); use the programs of one build", wrong.what());
    }
  }
  if (!ended) return error("hivq-worker's survey ended too early; `hivq doctor` tells whether hivq-worker runs");
  return survey;
}

}  // namespace hivq::init
