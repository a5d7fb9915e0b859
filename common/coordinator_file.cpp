#include "common/coordinator_file.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/file.h"

namespace hivq {

static std::string path_of(const std::string& data) { return data + "/coordinator.json"; }

std::optional<CoordinatorFile> read_coordinator_file(const std::string& data) {
  std::ifstream file(path_of(data));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  try {
    return CoordinatorFile{json.at("endpoint").get<std::string>(),
                           {json.at("pid").get<pid_t>(), json.at("start_time").get<uint64_t>()},
                           json.value("http", ""),
                           json.value("keys", "")};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::optional<CoordinatorFile> live_coordinator(const std::string& data) {
  auto file = read_coordinator_file(data);
  if (!file || file->process.pid <= 0 || !alive(file->process)) return std::nullopt;
  return file;
}

Status write_coordinator_file(const std::string& data, const CoordinatorFile& file) {
  const nlohmann::json json{{"endpoint", file.endpoint},
                            {"pid", file.process.pid},
                            {"start_time", file.process.start_time},
                            {"http", file.http},
                            {"keys", file.keys}};
  auto written = replace_file(path_of(data), json.dump() + '\n', 0644);
  if (!written) return error("{}: free space there, or choose another folder with --data", written.error().message);
  return {};
}

}  // namespace hivq
