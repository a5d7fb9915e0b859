// hivq-worker survey: what image files are in a folder, and which of them cannot be used. For `hivq init`.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/data/file.h"
#include "worker/data/image_file.h"
#include "worker/gang/gpus.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

constexpr int kDeepest = 8;  // folders below the one that is named: a link to a folder above it ends here

struct Options {
  std::string folder;
  FeaturePlaces places = default_places();
  double seconds = 10;
};

struct SurveyedImage {
  std::string file;  // relative to the folder
  ImageSize size;
  std::string problem;  // why it cannot be used; empty: nothing is known
};

/// The files below the folder, hidden ones left out, relative to it and by name.
Result<std::vector<std::string>> files_in(const std::string& folder) {
  constexpr auto kFollow =
      fs::directory_options::follow_directory_symlink | fs::directory_options::skip_permission_denied;
  std::vector<std::string> files;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(folder, kFollow, failed), end; !failed && it != end; it.increment(failed)) {
    const bool hidden = it->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (it->is_directory(ignored)) {
      if (hidden || it.depth() >= kDeepest) it.disable_recursion_pending();
    } else if (!hidden) {
      files.push_back(it->path().lexically_relative(folder).string());
    }
  }
  if (failed) return error("cannot read {}: {}", folder, failed.message());
  std::ranges::sort(files);
  return files;
}

/// Its size; where `whole`, whether it can be decoded too.
void look_at(const std::string& folder, bool whole, SurveyedImage& image) {
  const std::string path = (fs::path(folder) / image.file).string();
  const auto without_path = [&](const Error& error) {
    const std::string& said = error.message;
    return said.starts_with(path + " ") ? said.substr(path.size() + 1) : said;
  };
  const Result<ImageSize> size = read_image_size(path);
  if (size) image.size = *size;
  if (!size) image.problem = without_path(size.error());
  if (!size || !whole) return;
  if (const Result<at::Tensor> pixels = read_image(path); !pixels) image.problem = without_path(pixels.error());
}

/// Looks at all, with every core; decodes until the time is over. How many were decoded.
size_t look_at_all(const Options& options, std::vector<SurveyedImage>& images) {
  const auto end = SteadyClock::now() + std::chrono::duration<double>(options.seconds);
  std::atomic<size_t> next = 0, decoded = 0;
  const auto work = [&] {
    for (size_t i = next++; i < images.size(); i = next++) {
      const bool whole = SteadyClock::now() < end;
      look_at(options.folder, whole, images[i]);
      decoded += whole;
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < std::clamp(std::thread::hardware_concurrency(), 1u, 16u); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  return decoded;
}

void print_line(const Json& line) {
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Result<int> run(const Options& options) {
  const auto files = files_in(options.folder);
  if (!files) return files.error();
  std::vector<SurveyedImage> images;
  for (const std::string& file : *files) {
    if (is_named_as_image(file))
      images.push_back({file, {}, ""});
    else
      print_line({{"other", file}});
  }
  const size_t decoded = look_at_all(options, images);
  for (const SurveyedImage& image : images) {
    Json line = {{"file", image.file}, {"width", image.size.width}, {"height", image.size.height}};
    if (!image.problem.empty()) line["problem"] = image.problem;
    print_line(line);
  }
  std::vector<std::string> weights;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(options.places.weights_dir, failed)) {
    weights.push_back(entry.path().filename().string());
  }
  std::ranges::sort(weights);
  print_line({{"end", true}, {"decoded", decoded}, {"gpus", see_gpus().gpus.size()}, {"weights", weights}});
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_survey(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("folder", options->folder, "Folder of images, with the folders in it")->required();
  app.add_option("--seconds", options->seconds, "How long images are decoded; of the rest only the head is read")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  add_places(app, options->places);
  app.footer("Prints JSON, a line for each file.");
  return [options] { return run(*options); };
}

}  // namespace hivq
