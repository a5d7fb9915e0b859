#include "jobs/search/parzen.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hivq {

namespace {

constexpr double root_half = 0.70710678118654752440;

// The compiler's vectors: as many instructions as the machine has lanes for.
using Lanes [[gnu::vector_size(32)]] = double;
using LanesOfBits [[gnu::vector_size(32)]] = uint64_t;

double normal_cdf(double x) { return 0.5 * std::erfc(-x * root_half); }

}  // namespace

void Parzen::clear(std::vector<double> widths) {
  widths_ = std::move(widths);
  centres_.resize(space_.size());
  for (auto& each : centres_) each.clear();
  log_norms_.clear();
  conditional_norms_.resize(space_.size());
  for (auto& each : conditional_norms_) each.clear();
}

void Parzen::add(std::span<const double> point, std::span<const double> norms) {
  for (size_t d = 0; d < point.size(); ++d) centres_[d].push_back(point[d]);
  log_norms_.push_back(norms[0]);
  for (size_t i = 1; i < norms.size(); ++i) conditional_norms_[i - 1].push_back(norms[i]);
}

std::vector<double> Parzen::norms_of(std::span<const double> point) const {
  constexpr double log_root_two_pi = 0.91893853320467274178;
  std::vector<double> norms(1);
  for (size_t d = 0; d < point.size(); ++d) {
    double norm = 0;
    if (!std::isnan(point[d]) && space_.dimensions()[d].ordered) {
      const double width = widths_[d];
      norm = -log_root_two_pi - std::log(width * (normal_cdf((1 - point[d]) / width) - normal_cdf(-point[d] / width)));
    }
    if (space_.dimensions()[d].conditions.empty()) {
      norms[0] += norm;
    } else {
      norms.push_back(norm);
    }
  }
  return norms;
}

double Parzen::draw_near(size_t dimension, double centre, Draws& draws) const {
  const double u = draws.uniform();
  if (std::isnan(centre)) return u;
  const auto& d = space_.dimensions()[dimension];
  const double width = widths_[dimension];
  if (!d.ordered) return u >= width ? centre : draws.uniform();
  const double low = normal_cdf(-centre / width), high = normal_cdf((1 - centre) / width);
  return std::clamp(centre + width * normal_quantile(std::clamp(low + u * (high - low), 1e-15, 1 - 1e-15)), 0.0, 1.0);
}

std::vector<double> Parzen::draw(Draws& draws) const {
  const size_t kernel = draws.below(size() + 1);  // the last one is the uniform kernel
  std::vector<double> point(space_.size());
  for (size_t d = 0; d < point.size(); ++d) {
    const double centre = kernel < size() ? centres_[d][kernel] : std::numeric_limits<double>::quiet_NaN();
    point[d] = draw_near(d, centre, draws);
  }
  space_.settle(point);
  return point;
}

/// Inlined into one function for every machine and one for those with AVX2, which give the same bits: AVX2 by itself brings
/// no fused multiplications, and the sum has four lanes in both.
[[gnu::always_inline]] inline double Parzen::log_density_of(std::span<const double> point, double* logs) const {
  const size_t kernels = size();
  std::copy(log_norms_.begin(), log_norms_.end(), logs);
  size_t condition = 0;
  for (size_t d = 0; d < point.size(); ++d) {
    const double x = point[d];
    const double* centres = centres_[d].data();
    const auto& dimension = space_.dimensions()[d];
    const bool conditional = !dimension.conditions.empty();
    const double* norms = conditional ? conditional_norms_[condition++].data() : nullptr;
    if (std::isnan(x)) continue;
    if (dimension.ordered) {
      const double scale = -0.5 / (widths_[d] * widths_[d]);
      for (size_t j = 0; j < kernels; ++j) {
        const double square = (x - centres[j]) * (x - centres[j]) * scale;
        logs[j] += !conditional ? square : std::isnan(centres[j]) ? 0 : norms[j] + square;
      }
    } else {
      const double count = static_cast<double>(dimension.count);
      // Densities over the unit interval, of which each value has 1/count.
      const double other = std::log(widths_[d]), same = std::log(widths_[d] + count * (1 - widths_[d]));
      for (size_t j = 0; j < kernels; ++j) {
        const double each = std::abs(centres[j] - x) * count < 0.5 ? same : other;
        logs[j] += conditional && std::isnan(centres[j]) ? 0 : each;
      }
    }
  }
  double most = 0;  // of the uniform kernel
  for (size_t j = 0; j < kernels; ++j) most = std::max(most, logs[j]);
  Lanes sums = {exp_of_negative(-most), 0, 0, 0};
  size_t j = 0;
  for (; j + 4 <= kernels; j += 4) {
    Lanes lanes = {logs[j] - most, logs[j + 1] - most, logs[j + 2] - most, logs[j + 3] - most};
    replace_by_exp<LanesOfBits>(lanes);
    sums += lanes;
  }
  for (; j < kernels; ++j) sums[0] += exp_of_negative(logs[j] - most);
  return most + std::log((sums[0] + sums[1]) + (sums[2] + sums[3])) - std::log(static_cast<double>(kernels + 1));
}

[[gnu::always_inline]] inline std::vector<double> Parzen::log_densities(
    std::span<const std::vector<double>> points) const {
  std::vector<double> densities, logs(size());
  densities.reserve(points.size());
  for (const auto& point : points) densities.push_back(log_density_of(point, logs.data()));
  return densities;
}

#ifdef __x86_64__
[[gnu::target("avx2")]] std::vector<double> Parzen::log_densities_avx2(
    std::span<const std::vector<double>> points) const {
  return log_densities(points);
}
#endif

std::vector<double> Parzen::log_density(std::span<const std::vector<double>> points) const {
#ifdef __x86_64__
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2) return log_densities_avx2(points);
#endif
  return log_densities(points);
}

}  // namespace hivq
