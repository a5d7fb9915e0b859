#include "jobs/search/gaussian_process.h"

#include <algorithm>
#include <cmath>

namespace hivq {

GaussianProcess::GaussianProcess(std::vector<std::vector<double>> points, std::span<const double> values,
                                 GaussianKernel kernel, std::vector<bool> categorical)
    : points_(std::move(points)), kernel_(std::move(kernel)), categorical_(std::move(categorical)) {
  const auto n = static_cast<Eigen::Index>(points_.size());
  Eigen::MatrixXd k(n, n);
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < i; ++j) {
      k(i, j) = k(j, i) = covariance(points_[static_cast<size_t>(i)], points_[static_cast<size_t>(j)]);
    }
    k(i, i) = 1 + kernel_.noise;
  }
  factor_.compute(k);
  // Rounding may leave a matrix of near points without a factor: a little more noise gives it one.
  for (double jitter = 1e-8; factor_.info() != Eigen::Success && jitter < 1; jitter *= 10) {
    k.diagonal().array() += jitter;
    factor_.compute(k);
  }
  const Eigen::Map<const Eigen::VectorXd> y(values.data(), n);
  weights_ = factor_.solve(y);
  signal_ = std::max(1e-12, y.dot(weights_) / static_cast<double>(n));
  const double log_determinant = 2 * factor_.matrixLLT().diagonal().array().log().sum();
  log_likelihood_ = -0.5 * (static_cast<double>(n) * std::log(signal_) + log_determinant);
}

/// Matérn 5/2, equation 4.17.
double GaussianProcess::covariance(std::span<const double> a, std::span<const double> b) const {
  double squares = 0;
  for (size_t d = 0; d < a.size(); ++d) {
    const bool here = !std::isnan(a[d]), there = !std::isnan(b[d]);
    if (!here && !there) continue;
    double square = 0;
    if (here && there) {
      square = categorical_[d] ? a[d] != b[d] : (a[d] - b[d]) * (a[d] - b[d]);
    } else {
      // An inactive coordinate lies beside the middle of the range: distances stay those of a Euclidean space, and the
      // covariance positive.
      const double x = (here ? a[d] : b[d]) - 0.5;
      square = categorical_[d] ? 1 : 0.75 + x * x;
    }
    squares += square / (kernel_.lengths[d] * kernel_.lengths[d]);
  }
  const double r = std::sqrt(5 * squares);
  return (1 + r + 5 * squares / 3) * std::exp(-r);
}

GaussianProcess::Prediction GaussianProcess::predict(std::span<const double> point) const {
  Eigen::VectorXd k(static_cast<Eigen::Index>(points_.size()));
  for (size_t i = 0; i < points_.size(); ++i) k[static_cast<Eigen::Index>(i)] = covariance(point, points_[i]);
  const double mean = k.dot(weights_);
  factor_.matrixL().solveInPlace(k);
  return {mean, std::sqrt(signal_ * std::max(1e-12, 1 - k.squaredNorm()))};
}

double log_expected_improvement(const GaussianProcess::Prediction& prediction, double best) {
  const double z = (best - prediction.mean) / prediction.deviation;
  const double log_density = -0.5 * z * z - 0.91893853320467274178;
  double log_h = 0;
  if (z > -25) {
    log_h = std::log(std::exp(log_density) + z * 0.5 * std::erfc(-z * 0.70710678118654752440));
  } else {
    // The asymptotic series of Mills' ratio.
    const double s = 1 / (z * z);
    log_h = log_density + std::log(s * (1 - s * (3 - s * (15 - 105 * s))));
  }
  return log_h + std::log(prediction.deviation);
}

}  // namespace hivq
