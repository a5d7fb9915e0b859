#include "jobs/roots.h"

#include <algorithm>
#include <filesystem>

namespace hivq {

namespace {

namespace fs = std::filesystem;

fs::path resolved(const std::string& path, Links links) {
  if (links == Links::as_named) return fs::path(path).lexically_normal();
  std::error_code failed;
  fs::path real = fs::weakly_canonical(path, failed);
  return failed ? fs::path(path).lexically_normal() : real;
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  auto part = path.begin();
  for (const fs::path& each : folder) {
    if (each.empty()) continue;  // of a slash at the end
    if (part == path.end() || *part != each) return false;
    ++part;
  }
  return true;
}

Status check_path(const char* field, const std::string& path, const std::vector<std::string>& roots, Links links) {
  if (path.empty()) return {};
  if (fs::path(path).is_absolute()) {
    const fs::path whole = resolved(path, links);
    const bool inside = std::any_of(roots.begin(), roots.end(),
                                    [&](const std::string& root) { return lies_in(whole, resolved(root, links)); });
    if (inside) return {};
  }
  std::string folders;
  for (const std::string& root : roots) folders += (folders.empty() ? "" : ", ") + root;
  return error("field {} is '{}', {}; {}", field, path,
               fs::path(path).is_absolute() ? "which no trial may read" : "which must begin with a slash here",
               folders.empty() ? "whoever runs the coordinator allows a folder with --data-root DIR"
                               : "trials may read what lies in " + folders + " (--data-root)");
}

}  // namespace

bool leaves_folder(const std::string& name) {
  const fs::path path = fs::path(name).lexically_normal();
  return path.is_absolute() || (!path.empty() && *path.begin() == "..");
}

Status within_roots(const DataSpec& data, const BackboneSpec& backbone, const Roots& roots, Links links) {
  if (!roots) return {};
  if (auto allowed = check_path("data.path", data.path, *roots, links); !allowed) return allowed;
  if (auto allowed = check_path("backbone.weights", backbone.weights, *roots, links); !allowed) return allowed;
  for (const auto& [field, name] :
       {std::pair{"data.train_list", &data.train_list}, {"data.test_list", &data.test_list}}) {
    if (leaves_folder(*name)) {
      return error("field {} is '{}', which leads out of data.path; it must be a file in that folder", field, *name);
    }
  }
  return {};
}

}  // namespace hivq
