#pragma once

// What hivq-worker does besides being a rank of a gang: `hivq-worker predict …`. One process, without MPI (but for
// bench and check) and without a coordinator.

#include <functional>
#include <span>
#include <string>

#include "common/result.h"

namespace CLI {
class App;
}

namespace hivq {

/// A subcommand: `declare` adds its options to the parser and gives back what to do once they are parsed.
struct Subcommand {
  const char* name;
  const char* what;
  std::function<Result<int>()> (*declare)(CLI::App& app);
};
std::span<const Subcommand> subcommands();

/// Parses the arguments that follow the name, runs, prints an Error as a sentence. The exit code: 0 done, 1 error, 2
/// wrong usage.
int run_subcommand(const Subcommand& subcommand, int argc, const char* const* argv);

// ---- The subcommands, one file each ----

std::function<Result<int>()> declare_bench(CLI::App& app);
std::function<Result<int>()> declare_check(CLI::App& app);
std::function<Result<int>()> declare_evaluate(CLI::App& app);
std::function<Result<int>()> declare_export(CLI::App& app);
std::function<Result<int>()> declare_figures(CLI::App& app);
std::function<Result<int>()> declare_forward(CLI::App& app);
std::function<Result<int>()> declare_import(CLI::App& app);
std::function<Result<int>()> declare_predict(CLI::App& app);
std::function<Result<int>()> declare_survey(CLI::App& app);
std::function<Result<int>()> declare_textures(CLI::App& app);

}  // namespace hivq
