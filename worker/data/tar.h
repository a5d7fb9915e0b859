#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/result.h"

namespace hivq {

/// The files of a tar archive, plain or gzip-compressed, that are wanted by their names without folders → their bytes.
/// Errors name the archive: missing, damaged, truncated, a wanted file of more than 256 MiB.
Result<std::map<std::string, std::string>> read_tar(const std::string& path,
                                                    const std::function<bool(std::string_view name)>& wanted);

}  // namespace hivq
