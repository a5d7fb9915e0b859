#include "jobs/cli/command_line.h"

int main(int argc, char** argv) { return hivq::cli::run_command_line(argc, argv); }
