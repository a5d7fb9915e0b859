#pragma once

#include <string>

#include "common/result.h"

namespace hivq {

/// Writes a file in one step, so that it is there whole or as it was, with these permissions (0600). Errors: the folder
/// cannot be written.
Status replace_file(const std::string& path, const std::string& bytes, unsigned mode);

/// What is another text once the file has changed; `-` where there is none.
std::string file_stamp(const std::string& path);

}  // namespace hivq
