// search_quality SEARCH PROBLEM TRIALS SEEDS [TABLE]: the best value that a search finds, for each seed, as JSON; for
// tests/jobs/reference/optuna_compare.py. The problem `table` reads the measured values of a finite space from a file:
// the first line names the parameters, each further one has a setting's values and the result.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/jobs/search_problems.h"

namespace hivq {
namespace {

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::stringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  return fields;
}

/// Numbers are ranges over their positions, which Optuna is given as integers too; words are choices.
Problem table(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  std::vector<std::string> names = fields_of(line);
  names.pop_back();
  auto results = std::make_shared<std::map<std::vector<std::string>, double>>();
  Problem problem;
  while (std::getline(file, line)) {
    auto fields = fields_of(line);
    const double value = std::stod(fields.back());
    fields.pop_back();
    (*results)[fields] = value;
  }
  for (size_t i = 0; i < names.size(); ++i) {
    std::set<std::string> values;
    for (const auto& [setting, result] : *results) values.insert(setting[i]);
    SearchRange range;
    if (std::isdigit(static_cast<unsigned char>(values.begin()->front())) != 0) {
      range = {SearchRange::Kind::integer, {}, 0, static_cast<double>(values.size() - 1)};
    } else {
      for (const auto& value : values) range.choices.emplace_back(value);
    }
    problem.parameters[names[i]] = range;
  }
  problem.values = [names, results](const Params& params) {
    std::vector<std::string> setting;
    for (const auto& name : names) setting.push_back(to_string(params.at(name)));
    return std::vector{results->at(setting)};
  };
  return problem;
}

Problem problem_of(const std::string& name, const char* file) {
  if (name == "branin") return branin();
  if (name == "hartmann6") return hartmann6();
  if (name == "rosenbrock5") return rosenbrock(5);
  if (name == "ackley4") return ackley(4);
  if (name == "levy6") return levy(6);
  if (name == "mixed") return mixed_conditional();
  if (name == "table" && file != nullptr) return table(file);
  panic("an unknown problem");
}

}  // namespace
}  // namespace hivq

int main(int argc, char** argv) {
  using namespace hivq;
  if (argc < 5) {
    fmt::print(stderr, "usage: search_quality SEARCH PROBLEM TRIALS SEEDS [TABLE]\n");
    return 2;
  }
  const Problem problem = problem_of(argv[2], argc > 5 ? argv[5] : nullptr);
  std::vector<double> bests;
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t seed = 0; seed < std::stoull(argv[4]); ++seed) {
    auto searcher = searcher_of(sweep_of(problem, argv[1], std::stoll(argv[3]), seed));
    bests.push_back(best_of(run_search(*searcher, problem)));
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  fmt::print("{{\"best\": [{}], \"seconds\": {}}}\n", fmt::join(bests, ", "), time.count());
  return 0;
}
