// search_quality SEARCH PROBLEM TRIALS SEEDS [TABLE]: the best value that a search finds, for each seed, as JSON; for
// tests/jobs/reference/optuna_compare.py. The problem `table` reads the measured values of a finite space from a file:
// the first line names the parameters, each further one has a setting's values and the result.
// SEARCH+STOP, as tpe+asha: trials have curves of 27 epochs, and TRIALS · 27 epochs in all; the best value of a whole trial.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <fstream>
#include <set>
#include <sstream>

#include "jobs/search/stopper.h"
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

// Of trials that are stopped early; optuna_compare.py has the same.
constexpr int64_t whole = 27;

/// Of a setting after so many epochs: falls to the problem's value at the end, sooner or later as the setting has it, so
/// that those ahead early are not always ahead at the end.
double learning_curve(const Problem& problem, const Params& params, int64_t epoch) {
  double sum = 0;
  for (const auto& [key, value] : params) sum += real_of(params, key);
  const double speed = 0.75 + 0.45 * std::sin(37 * sum);
  const auto left = [&](int64_t e) { return std::pow(static_cast<double>(e), -speed); };
  return problem.values(params).front() + 4 * (left(epoch) - left(whole));
}

double best_with_stops(const std::string& search, const std::string& by, const Problem& problem, int64_t epochs,
                       uint64_t seed) {
  SweepSpec sweep = sweep_of(problem, search, 100'000, seed);
  sweep.goal = "minimize";
  sweep.stop.by = by;
  const auto searcher = searcher_of(sweep);
  const auto stopper = make_stopper(sweep, whole);
  double best = std::numeric_limits<double>::infinity();
  for (int64_t index = 0; epochs > 0; ++index) {
    Observation seen;
    seen.index = index;
    seen.params = searcher->propose(index).value().params;
    searcher->tell(seen);
    for (int64_t epoch = 1; epoch <= whole && !seen.stopped; ++epoch, --epochs) {
      seen.curve.push_back({epoch, learning_curve(problem, seen.params, epoch)});
      seen.stopped = stopper->record(index, seen.curve) && epoch < whole;
      searcher->tell(seen);
    }
    seen.state = Observation::State::ended;
    seen.values = {seen.curve.back().value};
    searcher->tell(seen);
    if (!seen.stopped) best = std::min(best, seen.values.front());
  }
  return best;
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
  const std::string search = argv[1], by = search.substr(std::min(search.find('+'), search.size()));
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t seed = 0; seed < std::stoull(argv[4]); ++seed) {
    if (!by.empty()) {
      const std::string first = search.substr(0, search.size() - by.size());
      bests.push_back(best_with_stops(first, by.substr(1), problem, whole * std::stoll(argv[3]), seed));
      continue;
    }
    auto searcher = searcher_of(sweep_of(problem, search, std::stoll(argv[3]), seed));
    bests.push_back(best_of(run_search(*searcher, problem)));
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  fmt::print("{{\"best\": [{}], \"seconds\": {}}}\n", fmt::join(bests, ", "), time.count());
  return 0;
}
