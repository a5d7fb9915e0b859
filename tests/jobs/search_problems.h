#pragma once

// Problems with known answers for searchers, and a loop that lets one work on them.

#include <cmath>
#include <functional>
#include <map>
#include <numbers>
#include <string>
#include <vector>

#include "jobs/search/searcher.h"

namespace hivq {

struct Problem {
  std::map<std::string, SearchRange> parameters;
  std::function<std::vector<double>(const Params&)> values;  // to be minimised
};

inline double real_of(const Params& params, const std::string& key) {
  const ParamValue& value = params.at(key);
  const auto* whole = std::get_if<int64_t>(&value);
  return whole ? static_cast<double>(*whole) : std::get<double>(value);
}

inline SearchRange uniform_range(double low, double high) { return {SearchRange::Kind::uniform, {}, low, high}; }

/// Minimum 0.397887 at three points.
inline Problem branin() {
  return {{{"x0", uniform_range(-5, 10)}, {"x1", uniform_range(0, 15)}}, [](const Params& p) {
            constexpr double pi = std::numbers::pi;
            const double x = real_of(p, "x0"), y = real_of(p, "x1");
            const double a = y - 5.1 / (4 * pi * pi) * x * x + 5 / pi * x - 6;
            return std::vector{a * a + 10 * (1 - 1 / (8 * pi)) * std::cos(x) + 10};
          }};
}

/// Minimum -3.32237.
inline Problem hartmann6() {
  Problem problem;
  for (int d = 0; d < 6; ++d) problem.parameters["x" + std::to_string(d)] = uniform_range(0, 1);
  problem.values = [](const Params& params) {
    constexpr double alpha[] = {1.0, 1.2, 3.0, 3.2};
    constexpr double a[4][6] = {
        {10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}};
    constexpr double p[4][6] = {{0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886},
                                {0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991},
                                {0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650},
                                {0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381}};
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      double inner = 0;
      for (int d = 0; d < 6; ++d) {
        const double x = real_of(params, "x" + std::to_string(d)) - p[i][d];
        inner += a[i][d] * x * x;
      }
      sum -= alpha[i] * std::exp(-inner);
    }
    return std::vector{sum};
  };
  return problem;
}

/// Minimum 0 at (1, …, 1).
inline Problem rosenbrock(int dimensions) {
  Problem problem;
  for (int d = 0; d < dimensions; ++d) problem.parameters["x" + std::to_string(d)] = uniform_range(-2.048, 2.048);
  problem.values = [dimensions](const Params& p) {
    double sum = 0;
    for (int d = 0; d + 1 < dimensions; ++d) {
      const double x = real_of(p, "x" + std::to_string(d)), y = real_of(p, "x" + std::to_string(d + 1));
      sum += 100 * (y - x * x) * (y - x * x) + (1 - x) * (1 - x);
    }
    return std::vector{sum};
  };
  return problem;
}

/// Minimum 0 at a point off the middle, among ripples. It had no part in the choice of the searchers' figures.
inline Problem ackley(int dimensions) {
  Problem problem;
  for (int d = 0; d < dimensions; ++d) problem.parameters["x" + std::to_string(d)] = uniform_range(-20, 32);
  problem.values = [dimensions](const Params& p) {
    double squares = 0, waves = 0;
    for (int d = 0; d < dimensions; ++d) {
      const double x = real_of(p, "x" + std::to_string(d));
      squares += x * x / dimensions;
      waves += std::cos(2 * std::numbers::pi * x) / dimensions;
    }
    return std::vector{-20 * std::exp(-0.2 * std::sqrt(squares)) - std::exp(waves) + 20 + std::numbers::e};
  };
  return problem;
}

/// Minimum 0 at (1, …, 1); as ackley(), it had no part in the choice of figures.
inline Problem levy(int dimensions) {
  Problem problem;
  for (int d = 0; d < dimensions; ++d) problem.parameters["x" + std::to_string(d)] = uniform_range(-10, 10);
  problem.values = [dimensions](const Params& p) {
    constexpr double pi = std::numbers::pi;
    const auto w = [&](int d) { return 1 + (real_of(p, "x" + std::to_string(d)) - 1) / 4; };
    double sum = std::pow(std::sin(pi * w(0)), 2);
    for (int d = 0; d + 1 < dimensions; ++d) {
      sum += std::pow(w(d) - 1, 2) * (1 + 10 * std::pow(std::sin(pi * w(d) + 1), 2));
    }
    const double last = w(dimensions - 1);
    return std::vector{sum + std::pow(last - 1, 2) * (1 + std::pow(std::sin(2 * pi * last), 2))};
  };
  return problem;
}

/// Three kinds of model with parameters of their own, one of them shared; minimum about 0.05.
inline Problem mixed_conditional() {
  using Kind = SearchRange::Kind;
  Problem problem;
  const auto of = [](const char* kind) {
    return std::map<std::string, std::vector<ParamValue>>{{"kind", {std::string(kind)}}};
  };
  problem.parameters["kind"] = {Kind::choice, {std::string("a"), std::string("b"), std::string("c")}, 0, 0};
  problem.parameters["units"] = {Kind::log_integer, {}, 8, 512};
  problem.parameters["lr"] = {Kind::log_uniform, {}, 1e-5, 1, 0, of("a")};
  problem.parameters["depth"] = {Kind::integer, {}, 1, 10, 0, of("a")};
  problem.parameters["x"] = {Kind::uniform, {}, -5, 5, 0, of("b")};
  problem.parameters["y"] = {Kind::uniform, {}, -5, 5, 0.5, of("b")};
  problem.parameters["momentum"] = {Kind::uniform, {}, 0, 1, 0, of("c")};
  problem.values = [](const Params& p) {
    const std::string& kind = std::get<std::string>(p.at("kind"));
    const double units = std::log2(real_of(p, "units")) - 6.3;
    double value = 0.05 * units * units;
    if (kind == "a") {
      const double lr = std::log10(real_of(p, "lr")) + 3.2, depth = real_of(p, "depth") - 7;
      value += 0.3 + 0.3 * lr * lr + 0.02 * depth * depth;
    } else if (kind == "b") {
      const double x = real_of(p, "x") - 1.5, y = real_of(p, "y") + 1;
      value += 0.05 + 0.1 * x * x + 0.1 * y * y + 0.2 * (1 - std::cos(3 * x));
    } else {
      const double momentum = real_of(p, "momentum") - 0.9;
      value += 0.25 + 5 * momentum * momentum;
    }
    return std::vector{value};
  };
  return problem;
}

/// Two objectives; the front is f2 = 1 - sqrt(f1), where all but the first coordinate are 0.
inline Problem zdt1(int dimensions) {
  Problem problem;
  for (int d = 0; d < dimensions; ++d) problem.parameters[fmt::format("x{:02}", d)] = uniform_range(0, 1);
  problem.values = [dimensions](const Params& p) {
    double sum = 0;
    for (int d = 1; d < dimensions; ++d) sum += real_of(p, fmt::format("x{:02}", d));
    const double g = 1 + 9 * sum / (dimensions - 1), first = real_of(p, "x00");
    return std::vector{first, g * (1 - std::sqrt(first / g))};
  };
  return problem;
}

inline SweepSpec sweep_of(const Problem& problem, const std::string& search, int64_t trials, uint64_t seed) {
  SweepSpec sweep;
  sweep.search = search;
  sweep.trials = trials;
  sweep.seed = seed;
  sweep.parameters = problem.parameters;
  return sweep;
}

inline std::unique_ptr<Searcher> searcher_of(const SweepSpec& sweep) {
  JobSpec job;
  job.sweep = sweep;
  return make_searcher(job);
}

/// Every trial to its end, `parallel` at a time, each told when it is proposed and when it ends. What was found.
inline std::vector<Observation> run_search(Searcher& searcher, const Problem& problem, int64_t parallel = 1) {
  std::vector<Observation> all;
  size_t ended = 0;
  while (ended < static_cast<size_t>(searcher.size())) {
    while (static_cast<int64_t>(all.size() - ended) < parallel) {
      auto proposal = searcher.propose(static_cast<int64_t>(all.size()));
      if (!proposal) break;
      Observation seen;
      seen.index = static_cast<int64_t>(all.size());
      seen.params = proposal->params;
      searcher.tell(seen);
      all.push_back(std::move(seen));
    }
    if (ended == all.size()) break;  // it hears of everything and proposes nothing: the test will notice
    Observation& oldest = all[ended++];
    oldest.state = Observation::State::ended;
    oldest.values = problem.values(oldest.params);
    searcher.tell(oldest);
  }
  return all;
}

inline double best_of(const std::vector<Observation>& all) {
  double best = std::numeric_limits<double>::infinity();
  for (const Observation& seen : all) best = std::min(best, seen.values.front());
  return best;
}

}  // namespace hivq
