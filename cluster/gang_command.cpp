#include "cluster/gang_command.h"

#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace hivq {

namespace {

std::string message_of(const std::string& line) {
  if (!line.starts_with('{')) return line;
  const auto json = nlohmann::json::parse(line, nullptr, false);
  const auto message = json.is_object() ? json.find("message") : json.end();
  return message != json.end() && message->is_string() ? message->get<std::string>() : line;
}

}  // namespace

std::vector<std::string> worker_command(const std::string& worker, const std::string& endpoint, const Pool& pool,
                                        const std::string& launch, const std::string& cache, const Roots& roots) {
  std::vector<std::string> command{worker, "--coordinator", endpoint, "--launch", launch};
  if (!cache.empty()) command.insert(command.end(), {"--cache", cache});
  for (const auto& [key, value] : gang_labels(pool)) command.insert(command.end(), {"--label", key + "=" + value});
  for (const auto& root : roots.value_or(std::vector<std::string>()))
    command.insert(command.end(), {"--data-root", root});
  return command;
}

std::string gang_log(const std::string& data, const std::string& launch) { return data + "/gangs/" + launch + ".log"; }

std::string last_lines(const std::string& path, size_t count) {
  std::ifstream file(path);
  std::deque<std::string> ranks, mpirun;
  bool framed = false;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.find_first_not_of(" \t") == line.npos) continue;
    if (line.size() > 20 && line.find_first_not_of('-') == line.npos) {
      framed = !framed;
      continue;
    }
    auto& lines = framed ? mpirun : ranks;
    lines.push_back(message_of(line));
    if (lines.size() > count) lines.pop_front();
  }
  std::string text;
  for (const auto& line : ranks.empty() ? mpirun : ranks) text += (text.empty() ? "" : " | ") + line;
  return text;
}

Status make_gangs_folder(const std::string& data) {
  std::error_code failed;
  std::filesystem::create_directories(data + "/gangs", failed);
  if (failed) return error("{}/gangs cannot be made: {}", data, failed.message());
  return {};
}

}  // namespace hivq
