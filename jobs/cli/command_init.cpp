// init: looks at a folder of one's own images and writes a specification for them.

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "jobs/cli/commands.h"
#include "jobs/doctor/probe.h"
#include "jobs/init/proposal.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

namespace fs = std::filesystem;

constexpr auto survey_limit = std::chrono::minutes(30);  // a million images on a slow disk

/// What the user answers, or `given` for an empty line and where the input has ended.
std::string ask(const std::string& question, const std::string& given) {
  std::fputs(fmt::format("{} [{}]: ", question, given).c_str(), stdout);
  std::fflush(stdout);
  std::string line;
  if (!std::getline(std::cin, line)) std::fputc('\n', stdout);
  const size_t begin = line.find_first_not_of(" \t"), end = line.find_last_not_of(" \t\r");
  return begin == std::string::npos ? given : line.substr(begin, end - begin + 1);
}

/// Asks until it is a number from `least` to `most`.
int64_t ask_number(const std::string& question, int64_t given, int64_t least, int64_t most) {
  while (true) {
    const std::string text = ask(question, std::to_string(given));
    int64_t number = 0;
    const auto [rest, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failed == std::errc() && rest == text.data() + text.size() && number >= least && number <= most) return number;
    std::fputs(fmt::format("{} to {}, please\n", least, most).c_str(), stdout);
    if (!std::cin) return given;
  }
}

Result<init::Survey> survey_of(const std::string& folder) {
  const auto ran = doctor::run_for({program_folder() + "/hivq-worker", "survey", folder}, survey_limit);
  if (!ran.started)
    return error("hivq init needs hivq-worker beside this program: {}; build it with make", ran.problem);
  if (!ran.in_time) return error("{} has more images than can be looked at in {} min", folder, survey_limit.count());
  if (ran.code != 0) {
    std::string said = ran.output.substr(0, ran.output.find_last_not_of('\n') + 1);
    said = said.substr(said.rfind('\n') + 1);
    return Error{said.starts_with("hivq: ") ? said.substr(6) : said};
  }
  return init::read_survey(ran.output);
}

Status write_text(const std::string& path, const std::string& text, bool force) {
  std::error_code failed;
  if (fs::exists(path, failed) && !force) {
    return error("{} is there already: --force replaces it, --out FILE names another", path);
  }
  fs::create_directories(fs::absolute(path, failed).parent_path(), failed);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) return error("cannot write {}: name a file in a folder of yours with --out", path);
  return {};
}

/// `spec.yaml` → `/…/spec.train.json`
std::string list_beside(const std::string& out, const char* part) {
  fs::path path = fs::absolute(out).lexically_normal();
  path.replace_extension(fmt::format(".{}.json", part));
  return path.string();
}

/// The proposal as the user wants it.
void ask_settings(init::Proposal& proposal, std::string& out) {
  proposal.image_size = init::fitting_size(
      ask_number("image size in pixels; more finds smaller defects, and takes longer", proposal.image_size, 32, 1024));
  proposal.epochs = ask_number("epochs", proposal.epochs, 1, 1'000'000);
  proposal.ranks =
      ask_number("processes that train together (GPUs, or CPU cores)", proposal.ranks, 1, proposal.batch_size);
  out = ask("specification", out);
}

std::string next_commands(const Common& common, const std::string& out, const std::vector<std::string>& written) {
  std::string text = "\n";
  for (const std::string& file : written) text += fmt::format("written: {}\n", file);
  const std::string spec = shell_word(out);
  return text + fmt::format("next:\n  {0} validate {1}\n  {0} run {1}\n", common.program, spec);
}

nlohmann::ordered_json to_json(const init::Dataset& dataset, const init::Proposal& proposal,
                               const std::vector<std::string>& written) {
  auto classes = nlohmann::ordered_json::array();
  for (const init::ClassCount& each : init::count_classes(dataset)) {
    classes.push_back({{"name", each.name},
                       {"train", each.train},
                       {"test_good", each.test_good},
                       {"test_defective", each.test_defective},
                       {"masks", each.masks}});
  }
  return {{"layout", dataset.layout},  {"loader", dataset.lists ? "json-lines" : "mvtec"},
          {"classes", classes},        {"masks", dataset.has_masks},
          {"notes", dataset.notes},    {"image_size", proposal.image_size},
          {"epochs", proposal.epochs}, {"batch_size", proposal.batch_size},
          {"ranks", proposal.ranks},   {"backbone", proposal.backbone},
          {"written", written},        {"next", fmt::format("hivq run {}", shell_word(written.front()))}};
}

}  // namespace

Result<int> init_command(const Common& common, const InitArguments& arguments) {
  const bool asks = !arguments.yes && !common.json && isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  std::string folder = arguments.folder;
  if (folder.empty() && asks) folder = ask("folder of your images", "images");
  if (folder.empty()) return wrong_input(error("hivq init needs the folder of your images: hivq init FOLDER"));
  std::error_code failed;
  if (!fs::is_directory(folder, failed)) {
    return error("{} is no folder; name the one that holds your images (hivq make-textures {} makes an example)",
                 folder, shell_word(folder));
  }
  const auto survey = survey_of(folder);
  if (!survey) return survey.error();
  const std::string whole = fs::canonical(folder, failed).string();
  const auto dataset = init::read_layout(whole, *survey);
  if (!dataset) return dataset.error();
  auto proposal =
      init::propose(*dataset, {static_cast<int>(std::thread::hardware_concurrency()), survey->gpus, survey->weights});
  if (!proposal) return proposal.error();
  std::string out = arguments.out.empty() ? proposal->name + ".yaml" : arguments.out;
  if (!common.json) {
    if (auto done = print(init::describe(*dataset)); !done) return done.error();
  }
  if (asks) {
    std::fputc('\n', stdout);
    ask_settings(*proposal, out);
  }

  const init::ListFiles lists{list_beside(out, "train"), list_beside(out, "test")};
  const std::string yaml = init::to_yaml(*dataset, *proposal, lists, fmt::format("hivq run {}", shell_word(out)));
  if (auto job = parse_job(yaml, out); !job) return error("this is a defect of hivq init: {}", job.error().message);
  std::vector<std::pair<std::string, std::string>> files = {{out, yaml}};
  if (dataset->lists) {
    files.emplace_back(lists.train, init::list_of(dataset->train));
    files.emplace_back(lists.test, init::list_of(dataset->test));
  }
  std::vector<std::string> written;
  for (const auto& [path, text] : files) {
    if (auto done = write_text(path, text, arguments.force); !done) return done.error();
    written.push_back(path);
  }
  return printed(common.json ? text_of(to_json(*dataset, *proposal, written)) : next_commands(common, out, written));
}

}  // namespace hivq::cli
