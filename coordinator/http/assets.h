#pragma once

// The dashboard's files and the API's description, compiled into the program.

#include <string_view>
#include <vector>

namespace hivq {

struct Asset {
  std::string_view name;  // style.css
  std::string_view type;  // text/css
  std::string_view bytes;
};

const std::vector<Asset>& assets();
/// Nothing: there is none of this name.
const Asset* find_asset(std::string_view name);

}  // namespace hivq
