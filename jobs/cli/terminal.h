#pragma once

// What a command writes to: standard output or standard error, and whether people watch it.

#include <cstddef>
#include <string>

#include "jobs/table.h"

namespace hivq::cli {

struct Terminal {
  bool interactive = false;  // a terminal: lines can be redrawn
  bool colour = false;       // a terminal, and NO_COLOR is not set
  size_t width = 0;          // columns; 0 where it is no terminal

  TableStyle style() const { return {width, colour}; }
};

/// Of a file descriptor: 1 or 2.
Terminal terminal_of(int descriptor);

}  // namespace hivq::cli
