#pragma once

// Completion in the shell: its script, and what a word can become.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"

namespace CLI {
class App;
}

namespace hivq::cli {

/// What only a coordinator knows; each may be empty.
struct Completions {
  std::function<std::vector<std::string>()> jobs;                          // 3
  std::function<std::vector<std::string>(const std::string& job)> trials;  // 3/0
  std::function<std::vector<std::string>()> gangs;
};

/// The command of this name; nullptr: there is none.
const CLI::App* find_command(const CLI::App& app, const std::string& name);

/// What the last of the words, which may be empty, can become: commands, options, jobs, trials, topics. Empty where it
/// is a file or anything else.
std::vector<std::string> complete(const CLI::App& app, std::span<const std::string> words, const Completions& known);

/// For `eval` or a file of completions. Errors: another shell than bash, zsh, fish.
Result<std::string> completion_script(const std::string& shell);

}  // namespace hivq::cli
