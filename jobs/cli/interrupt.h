#pragma once

// Ctrl-C and the like: the first asks for an orderly end, the second ends at once.

namespace hivq::cli {

/// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the program; a second one ends it.
void note_interrupts();

/// The signal that came; 0: none. The exit code of an interrupted command is 128 + it.
int interrupted();

}  // namespace hivq::cli
