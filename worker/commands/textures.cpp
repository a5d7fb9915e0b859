// hivq-worker textures: makes a small data set with painted defects from photos of textures.

#include "worker/data/textures.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "worker/commands/commands.h"

namespace hivq {

std::function<Result<int>()> declare_textures(CLI::App& app) {
  const auto options = std::make_shared<TextureOptions>();
  app.add_option("--photos", options->photos, "Folder of photos; each is a class (cmake/setup.sh: .deps/photos)")
      ->required();
  app.add_option("--out", options->out, "Folder of the data set, in MVTec-AD's layout; absent or empty")->required();
  app.add_option("--crop", options->crop, "Side of an image in pixels")->capture_default_str();
  app.add_option("--train", options->train, "Training images of each class")->capture_default_str();
  app.add_option("--test-good", options->test_good, "Test images of each class without a defect")
      ->capture_default_str();
  app.add_option("--test-per-defect", options->test_per_defect, "Test images of each class and kind of defect")
      ->capture_default_str();
  app.add_option("--seed", options->seed, "The same seed gives the same files")->capture_default_str();
  return [options]() -> Result<int> {
    if (Status made = make_textures(*options); !made) return made.error();
    std::printf("%s is ready: set data.name to mvtec and data.path to it\n", options->out.c_str());
    return 0;
  };
}

}  // namespace hivq
