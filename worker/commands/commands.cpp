#include "worker/commands/commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

namespace hivq {

std::span<const Subcommand> subcommands() {
  static const Subcommand all[] = {
      {"bench", "Where a training step's time goes, beside what the machine can do", declare_bench},
      {"check", "Whether the ranks that mpirun starts add up, and what each computes on", declare_check},
      {"evaluate", "A trained model's metrics on a data set", declare_evaluate},
      {"export", "A checkpoint as a model to keep, or as a program to serve", declare_export},
      {"figures", "The paper's figures of a trained model, as PNG", declare_figures},
      {"forward", "A state dict's reconstruction, codes, maps and scores of given features", declare_forward},
      {"import", "A state dict from elsewhere as a model", declare_import},
      {"predict", "Anomaly maps and scores of image files", declare_predict},
      {"survey", "The image files of a folder, and which of them cannot be used", declare_survey},
      {"textures", "A small data set with painted defects, from photos of textures", declare_textures},
  };
  return all;
}

int run_subcommand(const Subcommand& subcommand, int argc, const char* const* argv) {
  CLI::App app(subcommand.what, std::string("hivq-worker ") + subcommand.name);
  const auto run = subcommand.declare(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  } catch (const CLI::ParseError& wrong) {
    std::fprintf(stderr, "hivq: %s; `hivq-worker %s --help` shows how\n", wrong.what(), subcommand.name);
    return 2;
  }
  std::string failure;
  try {
    const Result<int> code = run();
    if (code) return *code;
    failure = code.error().message;
  } catch (const std::exception& thrown) {
    const std::string what = thrown.what();  // LibTorch adds a stack trace below the first lines
    failure = what.substr(0, what.find("\nException raised from"));
  }
  std::fprintf(stderr, "hivq: %s\n", failure.c_str());
  return 1;
}

}  // namespace hivq
