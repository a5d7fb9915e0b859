#include "coordinator/http/assets.h"

#include <algorithm>
#include <utility>

#define HIVQ_EMBEDDED(symbol, name) extern "C" const char symbol[], symbol##_end[];
#include <hivq_assets.inc>  // by CMake: cmake/Embed.cmake
#undef HIVQ_EMBEDDED

namespace hivq {

namespace {

std::string_view type_of(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {{".html", "text/html; charset=utf-8"},
                                                                      {".css", "text/css; charset=utf-8"},
                                                                      {".js", "text/javascript; charset=utf-8"},
                                                                      {".svg", "image/svg+xml"},
                                                                      {".yaml", "application/yaml; charset=utf-8"}};
  for (const auto& [ending, type] : kTypes) {
    if (name.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

}  // namespace

const std::vector<Asset>& assets() {
  static const std::vector<Asset> all = {
#define HIVQ_EMBEDDED(symbol, name) {name, type_of(name), {symbol, static_cast<size_t>(symbol##_end - symbol)}},
#include <hivq_assets.inc>
#undef HIVQ_EMBEDDED
  };
  return all;
}

const Asset* find_asset(std::string_view name) {
  const auto found = std::ranges::find(assets(), name, &Asset::name);
  return found == assets().end() ? nullptr : &*found;
}

}  // namespace hivq
