#include "jobs/cli/complete.h"

#include <CLI/CLI.hpp>

#include "jobs/cli/topics.h"
#include "jobs/cli/worker_command.h"

namespace hivq::cli {

namespace {

using Words = std::vector<std::string>;

constexpr const char* kBash =
    "# bash completion for hivq: eval \"$(hivq completion bash)\"\n"
    "_hivq() {\n"
    "  local IFS=$'\\n'\n"
    "  COMPREPLY=($(compgen -W \"$(hivq __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\" -- "
    "\"${COMP_WORDS[COMP_CWORD]}\"))\n"
    "}\n"
    "complete -o default -F _hivq hivq\n";
constexpr const char* kZsh =
    "#compdef hivq\n"
    "# zsh completion for hivq: eval \"$(hivq completion zsh)\"\n"
    "_hivq() {\n"
    "  local -a found\n"
    "  found=(\"${(@f)$(hivq __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
    "  if [[ -n \"${found[1]}\" ]]; then compadd -a found; else _files; fi\n"
    "}\n"
    "compdef _hivq hivq\n";
constexpr const char* kFish =
    "# fish completion for hivq: hivq completion fish | source\n"
    "complete -c hivq -a '(hivq __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n";

/// Commands whose arguments hivq-worker parses: they begin with a trial.
bool takes_trial(const std::string& command) {
  const WorkerCommand* found = find_worker_command(command);
  return found != nullptr && found->takes != WorkerCommand::Takes::arguments &&
         found->takes != WorkerCommand::Takes::folder;
}

Words commands_of(const CLI::App& app) {
  Words names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

Words options_of(const CLI::App& command) {
  Words names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

Words jobs_or_trials(const std::string& word, const Completions& known) {
  const size_t slash = word.find('/');
  if (slash != std::string::npos) return known.trials ? known.trials(word.substr(0, slash)) : Words();
  return known.jobs ? known.jobs() : Words();
}

/// The option that takes the word after `before`; nullptr: none does.
const CLI::Option* option_before(const CLI::App& command, const std::string& before) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional() || option->get_expected_max() == 0) continue;
    for (const std::string& name : option->get_lnames()) {
      if (before == "--" + name) return option;
    }
  }
  return nullptr;
}

/// What the first positional argument, or one that may come again, can be.
Words positionals(const CLI::App& command, const std::string& word, const Completions& known) {
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true, false);
    if (name == "job" || name == "trial" || name == "checkpoint" || name == "what") return jobs_or_trials(word, known);
    if (name == "target") return known.gangs ? known.gangs() : Words();
    if (name == "shell") return {"bash", "zsh", "fish"};
    if (name == "topic") {
      Words names;
      for (const Topic& topic : topics()) names.emplace_back(topic.name);
      return names;
    }
    return {};
  }
  return {};
}

}  // namespace

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  const auto found = app.get_subcommands([&](const CLI::App* each) { return each->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

std::vector<std::string> complete(const CLI::App& app, std::span<const std::string> words, const Completions& known) {
  if (words.empty()) return {};
  const std::string& word = words.back();
  Words found;
  if (words.size() == 1) {
    found = word.starts_with('-') ? options_of(app) : commands_of(app);
  } else if (takes_trial(words[0])) {
    const bool wanted = words.size() == 2 || words[words.size() - 2] == "--trial";
    if (wanted && !word.starts_with('-')) found = jobs_or_trials(word, known);
  } else if (const CLI::App* command = find_command(app, words[0])) {
    if (word.starts_with('-')) {
      found = options_of(*command);
    } else if (option_before(*command, words[words.size() - 2]) == nullptr) {
      found = positionals(*command, word, known);
    }
  }
  std::erase_if(found, [&](const std::string& each) { return !each.starts_with(word); });
  return found;
}

Result<std::string> completion_script(const std::string& shell) {
  if (shell == "bash") return std::string(kBash);
  if (shell == "zsh") return std::string(kZsh);
  if (shell == "fish") return std::string(kFish);
  return error("there is completion for bash, zsh and fish, not for '{}'", shell);
}

}  // namespace hivq::cli
