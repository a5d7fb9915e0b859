#pragma once

// Gaussian process regression: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, chapter 2.

#include <Eigen/Dense>
#include <span>
#include <vector>

namespace hivq {

struct GaussianKernel {
  std::vector<double> lengths;  // in each dimension
  double noise = 1e-4;          // variance of the observations, as a part of the signal's
};

/// Prior mean 0; the variance of the signal is the one that suits the observations best.
class GaussianProcess {
 public:
  /// `categorical`: dimensions in which two values are either equal or at distance 1. NaN coordinates equal each other,
  /// and lie at distance 1 about from all others. Values should have mean 0.
  GaussianProcess(std::vector<std::vector<double>> points, std::span<const double> values, GaussianKernel kernel,
                  std::vector<bool> categorical);

  struct Prediction {
    double mean, deviation;
  };
  Prediction predict(std::span<const double> point) const;
  /// Of the observations, with the best variance of the signal; constants left out (equation 2.30).
  double log_likelihood() const { return log_likelihood_; }

 private:
  double covariance(std::span<const double> a, std::span<const double> b) const;

  std::vector<std::vector<double>> points_;
  GaussianKernel kernel_;
  std::vector<bool> categorical_;
  Eigen::LLT<Eigen::MatrixXd> factor_;
  Eigen::VectorXd weights_;
  double signal_ = 1, log_likelihood_ = 0;
};

/// The logarithm of the expected improvement below `best`, in units of the deviation; precise far from it, too.
double log_expected_improvement(const GaussianProcess::Prediction& prediction, double best);

}  // namespace hivq
