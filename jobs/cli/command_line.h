#pragma once

namespace hivq::cli {

/// The program hivq: reads the command line, runs the command, and returns the exit code.
int run_command_line(int argc, const char* const* argv);

}  // namespace hivq::cli
