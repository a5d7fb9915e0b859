#include "worker/commands/places.h"

#include <pwd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace hivq {
namespace {

/// A child of mpirun or of a container may have no HOME.
std::string default_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return std::string(cache) + "/hivq/features";
  if (const char* home = std::getenv("HOME"); home && *home) return std::string(home) + "/.cache/hivq/features";
  if (const passwd* user = getpwuid(getuid()); user && user->pw_dir && *user->pw_dir) {
    return std::string(user->pw_dir) + "/.cache/hivq/features";
  }
  return "/tmp/hivq-" + std::to_string(getuid()) + "/features";
}

}  // namespace

FeaturePlaces default_places() {
  constexpr size_t kCacheLimit = size_t{64} << 30;
  return {HIVQ_DEPS_DIR "/weights", default_cache(), kCacheLimit};
}

void add_places(CLI::App& app, FeaturePlaces& places) {
  app.add_option("--cache", places.cache_dir, "Folder of the feature cache; made where absent")->capture_default_str();
  app.add_option("--weights", places.weights_dir, "Folder of the backbones' weights")
      ->envname("HIVQ_WEIGHTS")
      ->capture_default_str();
  app.add_option("--cache-limit", places.cache_limit,
                 "Size that the feature cache is kept within, such as 20GB: what was used longest ago goes; 0: none")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->default_str("64GB");
}

}  // namespace hivq
