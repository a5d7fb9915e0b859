#include "common/coordinator_file.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

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
  const std::string path = path_of(data), part = path + ".part";
  {
    std::ofstream out(part);
    out << json.dump() << '\n';
    if (!out.flush()) return error("cannot write {}: free space there, or choose another folder with --data", part);
  }
  std::error_code failed;
  std::filesystem::rename(part, path, failed);
  if (failed) return error("cannot write {}: {}", path, failed.message());
  return {};
}

}  // namespace hivq
