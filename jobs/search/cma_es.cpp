#include "jobs/search/cma_es.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "jobs/search/draws.h"
#include "jobs/search/sobol.h"
#include "jobs/search/trial_set.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_sample = 0xc3a;
using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;

/// The strategy's constants, Table 1 of the tutorial; some of the weights are negative.
struct Constants {
  Constants(size_t dimensions, size_t lambda) {
    const auto n = static_cast<double>(dimensions);
    const size_t mu = lambda / 2;
    double sum[2] = {0, 0}, squares[2] = {0, 0};  // of the better half, of the others
    for (size_t i = 0; i < lambda; ++i) {
      weights.push_back(std::log((static_cast<double>(lambda) + 1) / 2) - std::log(static_cast<double>(i) + 1));
      sum[i >= mu] += weights[i];
      squares[i >= mu] += weights[i] * weights[i];
    }
    better = mu;
    mu_eff = sum[0] * sum[0] / squares[0];
    const double mu_eff_others = sum[1] * sum[1] / squares[1];
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5);
    d_sigma = 1 + 2 * std::max(0.0, std::sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma;
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n);
    c_1 = 2 / ((n + 1.3) * (n + 1.3) + mu_eff);
    c_mu = std::min(1 - c_1, 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) * (n + 2) + mu_eff));
    // The others' weights are negative, together so much at most that the covariance stays positive (eq. 50 to 53).
    const double others =
        std::min({1 + c_1 / c_mu, 1 + 2 * mu_eff_others / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu)});
    for (size_t i = 0; i < lambda; ++i) {
      weights[i] *= i < mu ? 1 / sum[0] : others / std::abs(sum[1]);
      weights_sum += weights[i];
    }
    chi = std::sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  }
  std::vector<double> weights;
  size_t better = 0;  // the first so many weights are positive, and sum up to 1
  double weights_sum = 0;
  double mu_eff = 0, c_sigma = 0, d_sigma = 0, c_c = 0, c_1 = 0, c_mu = 0, chi = 0;
};

/// The distribution that a generation is drawn from.
struct Distribution {
  Vector mean, path_sigma, path_c;
  Matrix covariance, axes;  // axes: of the covariance, as columns …
  Vector lengths;           // … of these lengths
  double sigma = 1.0 / 6;
  int64_t age = 0;  // generations since it began

  void decompose() {
    const Eigen::SelfAdjointEigenSolver<Matrix> solved(covariance);
    axes = solved.eigenvectors();
    lengths = solved.eigenvalues().cwiseMax(1e-20).cwiseSqrt();
  }
  /// Times the inverse root of the covariance.
  Vector whitened(const Vector& y) const { return axes * (axes.transpose() * y).cwiseQuotient(lengths); }
  double spread() const { return sigma * lengths.maxCoeff(); }
};

class CmaEs final : public Searcher {
 public:
  explicit CmaEs(const SweepSpec& sweep)
      : space_(sweep.parameters),
        size_(sweep.trials),
        seed_(sweep.seed),
        lambda_(sweep.population > 0 ? std::max<int64_t>(4, sweep.population)
                                     : 4 + static_cast<int64_t>(3 * std::log(static_cast<double>(space_.size())))),
        constants_(space_.size(), static_cast<size_t>(lambda_)) {}

  int64_t size() const override { return size_; }
  bool adaptive() const override { return true; }
  void recall(const Observation& seen) override { seen_.put(space_, seen, true); }
  void tell(const Observation& seen) override { seen_.put(space_, seen, false); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size_) return std::nullopt;
    const auto generation = static_cast<size_t>(index / lambda_);
    while (generations_.size() <= generation) {
      if (!begin_next()) return std::nullopt;
    }
    Proposal proposal;
    const Vector x = sample(generations_[generation], index);
    proposal.params = space_.params({x.data(), space_.size()});
    return proposal;
  }

 private:
  /// False: the generation before has not ended. Generations that have ended do not change, so they are kept.
  bool begin_next() const {
    if (generations_.empty()) {
      generations_.push_back(fresh(0));
      return true;
    }
    const auto last = static_cast<int64_t>(generations_.size()) - 1;
    std::vector<const SeenTrial*> ranked;
    for (int64_t index = last * lambda_; index < (last + 1) * lambda_; ++index) {
      const auto found = seen_.trials().find(index);
      if (found == seen_.trials().end() || found->second.state == Observation::State::open) return false;
      ranked.push_back(&found->second);
    }
    // Those without a value come last.
    std::sort(ranked.begin(), ranked.end(), [](const SeenTrial* a, const SeenTrial* b) {
      if (a->has_value() != b->has_value()) return a->has_value();
      return a->has_value() ? ranks_before(*a, *b) : a->index < b->index;
    });
    generations_.push_back(after(generations_.back(), ranked));
    return true;
  }

  Distribution fresh(uint64_t number) const {
    const auto n = static_cast<Eigen::Index>(space_.size());
    Distribution begun;
    begun.mean = Vector::Constant(n, 0.5);
    if (number > 0) {
      for (Eigen::Index d = 0; d < n; ++d) begun.mean[d] = sobol_point(seed_, number, static_cast<uint64_t>(d));
    } else if (const SeenTrial* best = best_earlier()) {
      for (Eigen::Index d = 0; d < n; ++d) {
        if (const double x = best->point[static_cast<size_t>(d)]; !std::isnan(x)) begun.mean[d] = x;
      }
      begun.sigma = 0.1;
    }
    begun.path_sigma = begun.path_c = Vector::Zero(n);
    begun.covariance = Matrix::Identity(n, n);
    begun.decompose();
    return begun;
  }

  const SeenTrial* best_earlier() const {
    const SeenTrial* best = nullptr;
    for (const auto& [index, trial] : seen_.trials()) {
      if (index < 0 && trial.has_value() && (best == nullptr || ranks_before(trial, *best))) best = &trial;
    }
    return best;
  }

  /// Trial `index` of its generation's distribution.
  Vector sample(const Distribution& from, int64_t index) const {
    constexpr int attempts = 20;  // to stay within the cube
    Draws draws(seed_, static_cast<uint64_t>(index), purpose_sample);
    Vector x, z(from.mean.size());
    for (int i = 0; i < attempts; ++i) {
      for (double& each : z) each = draws.normal();
      x = from.mean + from.sigma * (from.axes * from.lengths.cwiseProduct(z));
      if (x.minCoeff() >= 0 && x.maxCoeff() <= 1) return x;
    }
    return x.cwiseMax(0).cwiseMin(1);
  }

  /// Figure 6 of the tutorial.
  Distribution after(const Distribution& from, const std::vector<const SeenTrial*>& ranked) const {
    const Constants& c = constants_;
    Distribution next = from;
    next.age = from.age + 1;
    Vector step = Vector::Zero(from.mean.size());
    Matrix rank_mu = Matrix::Zero(step.size(), step.size());
    for (size_t i = 0; i < c.weights.size(); ++i) {
      const Vector y = (sample(from, ranked[i]->index) - from.mean) / from.sigma;
      double weight = c.weights[i];
      if (i < c.better) {
        step += weight * y;
      } else {
        weight *= static_cast<double>(step.size()) / (from.whitened(y).squaredNorm() + 1e-300);
      }
      rank_mu += weight * y * y.transpose();
    }
    next.mean = (from.mean + from.sigma * step).cwiseMax(0).cwiseMin(1);
    next.path_sigma =
        (1 - c.c_sigma) * from.path_sigma + std::sqrt(c.c_sigma * (2 - c.c_sigma) * c.mu_eff) * from.whitened(step);
    const double length = next.path_sigma.norm();
    const double expected = std::sqrt(1 - std::pow(1 - c.c_sigma, 2.0 * static_cast<double>(next.age)));
    const bool steady = length / expected < (1.4 + 2 / (static_cast<double>(step.size()) + 1)) * c.chi;
    next.path_c = (1 - c.c_c) * from.path_c;
    if (steady) next.path_c += std::sqrt(c.c_c * (2 - c.c_c) * c.mu_eff) * step;
    const double lost = steady ? 0 : c.c_1 * c.c_c * (2 - c.c_c);
    next.covariance = (1 + lost - c.c_1 - c.c_mu * c.weights_sum) * from.covariance +
                      c.c_1 * next.path_c * next.path_c.transpose() + c.c_mu * rank_mu;
    next.sigma = from.sigma * std::exp(c.c_sigma / c.d_sigma * (length / c.chi - 1));
    next.sigma = std::min(next.sigma, 1.0);
    keep_cells_in_reach(next);
    next.decompose();
    constexpr double point = 1e-9;  // nothing in six digits changes any more
    if (next.spread() < point) return fresh(generations_.size());
    return next;
  }

  void keep_cells_in_reach(Distribution& next) const {
    for (size_t d = 0; d < space_.size(); ++d) {
      const int64_t count = space_.dimensions()[d].count;
      if (count == 0) continue;
      const auto i = static_cast<Eigen::Index>(d);
      const double least = 0.25 / static_cast<double>(count) / next.sigma;
      if (next.covariance(i, i) < least * least) next.covariance(i, i) = least * least;
    }
  }

  const Space space_;
  const int64_t size_;
  const uint64_t seed_;
  const int64_t lambda_;
  const Constants constants_;
  TrialSet seen_;
  mutable std::vector<Distribution> generations_;
};

}  // namespace

std::unique_ptr<Searcher> make_cma_es_search(const SweepSpec& sweep) { return std::make_unique<CmaEs>(sweep); }

}  // namespace hivq
