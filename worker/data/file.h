#pragma once

// Whole files in and out, with errors that name the file and the system's reason.

#include <string>
#include <string_view>

#include "common/result.h"

namespace hivq {

/// Reads a whole file.
Result<std::string> read_file(const std::string& path);

/// Writes a whole file in one step: a reader, or a crash, sees the whole new file or what was there before.
Status write_file(const std::string& path, std::string_view bytes);

/// An Error of a failed system call on a file: `cannot write /x/y: No space left on device`.
Error file_error(std::string_view action, const std::string& path, int error_number);

}  // namespace hivq
