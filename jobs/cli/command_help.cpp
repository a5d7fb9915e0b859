// help, and what the shells ask while a command is typed.

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "common/allow_list.h"
#include "jobs/cli/commands.h"
#include "jobs/cli/complete.h"
#include "jobs/cli/terminal.h"
#include "jobs/cli/topics.h"
#include "jobs/cli/worker_command.h"
#include "jobs/views/format.h"

namespace hivq::cli {

namespace {

constexpr std::chrono::milliseconds kPatience{500};  // of who types

/// The coordinator that the words so far speak of; nothing: none is known to run.
std::optional<Client> typed_coordinator(const std::vector<std::string>& words) {
  const char* named = std::getenv("HIVQ_COORDINATOR");
  std::string endpoint = named == nullptr ? "" : named, data = Where().data, keys;
  ClientOptions options;
  KeyOptions said;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "--coordinator") endpoint = words[i + 1];
    if (words[i] == "--key") said.key = words[i + 1];
    if (words[i] == "--data") data = words[i + 1], endpoint.clear();
  }
  if (endpoint.empty()) {
    const auto live = live_coordinator(data);
    if (!live) return std::nullopt;
    endpoint = live->endpoint;
    keys = live->keys;
  }
  auto credentials = find_credentials(said, endpoint, keys);
  if (!credentials) return std::nullopt;
  options.credentials = std::move(*credentials);
  auto client = Client::connect(endpoint, std::move(options));
  return client ? std::optional(std::move(*client)) : std::nullopt;
}

template <typename Answer>
Answer ask_quickly(const std::vector<std::string>& words, Body question) {
  auto client = typed_coordinator(words);
  if (!client) return {};
  auto answer = client->try_ask<Answer>(std::move(question), kPatience);
  return answer && *answer ? std::move(**answer) : Answer();
}

}  // namespace

Result<int> help(const CLI::App& app, const std::string& topic) {
  const bool colour = terminal_of(1).colour;
  if (topic.empty()) {
    std::string text = "hivq COMMAND --help tells a command's options, hivq --help lists the commands. Topics:\n\n";
    for (const Topic& each : topics()) text += fmt::format("  hivq help {:<12} {}\n", each.name, each.about);
    return printed(text);
  }
  if (const Topic* found = find_topic(topic)) return printed(terminal_text(found->text, colour));
  if (const WorkerCommand* command = find_worker_command(topic)) return run_worker_command(*command, {"--help"});
  if (const CLI::App* command = find_command(app, topic)) return printed(command->help("hivq"));
  std::string names;
  for (const Topic& each : topics()) names += fmt::format("{}{}", names.empty() ? "" : ", ", each.name);
  return wrong_input(
      error("hivq help: there is no topic and no command '{}'; topics are {}; `hivq --help` lists the commands",
            printable(topic), names));
}

Result<int> print_completions(const CLI::App& app, const std::vector<std::string>& words) {
  Completions known;
  known.jobs = [&] {
    std::vector<std::string> names;
    for (const auto& job : ask_quickly<JobList>(words, ListJobs{}).jobs) names.push_back(std::to_string(job.id));
    return names;
  };
  known.trials = [&](const std::string& job) {
    std::vector<std::string> names;
    const auto id = parse_job_id(job);
    if (!id) return names;
    for (const auto& trial : ask_quickly<JobDetail>(words, ShowJob{*id}).trials) names.push_back(to_string(trial.id));
    return names;
  };
  known.gangs = [&] {
    std::vector<std::string> names;
    for (const auto& gang : ask_quickly<GangList>(words, QueryGangs{}).gangs) names.push_back(gang.id);
    return names;
  };
  std::string text;
  for (const std::string& each : complete(app, words, known)) text += printable(each) + '\n';
  return printed(text);
}

}  // namespace hivq::cli
