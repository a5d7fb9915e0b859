#include "jobs/importance.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "jobs/philox.h"

namespace hivq {

namespace {

constexpr size_t most_levels = 64;  // of a parameter; neighbours of more are put together
constexpr uint64_t trees = 64;
constexpr size_t least_to_split = 4;  // trials of a node
constexpr double tried_share = 0.7;   // of the parameters, at each split

std::optional<double> number_of(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  auto [rest, failed] = std::from_chars(text.data(), end, number);
  if (failed != std::errc() || rest != end || !std::isfinite(number)) return std::nullopt;
  return number;
}

/// A parameter as ordered levels; a trial's value is the number of its level.
struct Axis {
  std::string name;
  std::vector<uint32_t> level_of;  // by trial
  std::vector<double> weights;     // by level: the share of trials that have it
  std::vector<double> summed;      // of all levels before; one more than weights

  double weight(size_t first, size_t end) const { return summed[end] - summed[first]; }
};

/// By trial: numbers by size, words by the mean of what came of them, and what is missing before all.
std::vector<double> ranks_of(const std::string& name, std::span<const Outcome> trials) {
  std::vector<double> ranks(trials.size());
  std::map<std::string, std::pair<double, size_t>> by_word;
  bool numbers = true;
  for (size_t i = 0; i < trials.size(); ++i) {
    auto found = trials[i].params.find(name);
    if (found == trials[i].params.end()) {
      ranks[i] = -std::numeric_limits<double>::infinity();
      continue;
    }
    const auto number = number_of(found->second);
    numbers &= number.has_value();
    ranks[i] = number.value_or(0);
    auto& [sum, count] = by_word[found->second];
    sum += trials[i].value;
    ++count;
  }
  if (numbers) return ranks;
  // Where the best split into two sets lies between neighbours of this order: Breiman et al., 1984, section 9.4.
  std::vector<std::pair<double, std::string>> words;
  for (const auto& [word, mean] : by_word) words.emplace_back(mean.first / static_cast<double>(mean.second), word);
  std::ranges::sort(words);
  std::map<std::string, double> place;
  for (size_t i = 0; i < words.size(); ++i) place[words[i].second] = static_cast<double>(i);
  for (size_t i = 0; i < trials.size(); ++i) {
    auto found = trials[i].params.find(name);
    if (found != trials[i].params.end()) ranks[i] = place[found->second];
  }
  return ranks;
}

Axis make_axis(const std::string& name, std::span<const Outcome> trials) {
  const std::vector<double> ranks = ranks_of(name, trials);
  std::vector<double> sorted = ranks;
  std::ranges::sort(sorted);
  std::vector<double> levels = sorted;  // the least rank of each level
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  if (levels.size() > most_levels) {
    levels.clear();
    for (size_t i = 0; i < most_levels; ++i) levels.push_back(sorted[i * sorted.size() / most_levels]);
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  }
  Axis axis{name, {}, std::vector<double>(levels.size()), {0}};
  for (double rank : ranks) {
    const auto level = std::ranges::upper_bound(levels, rank) - levels.begin() - 1;
    axis.level_of.push_back(static_cast<uint32_t>(level));
    axis.weights[static_cast<size_t>(level)] += 1.0 / static_cast<double>(ranks.size());
  }
  for (double weight : axis.weights) axis.summed.push_back(axis.summed.back() + weight);
  return axis;
}

/// A leaf of a tree: the levels [first, end) of every axis, and the mean of its trials.
struct Leaf {
  std::vector<std::pair<uint32_t, uint32_t>> box;
  double value = 0;
};

/// Random numbers of one tree, one after another.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t tree) : seed_(seed), tree_(tree) {}
  size_t below(size_t bound) { return static_cast<size_t>(random_bits(seed_, next_++, tree_) % bound); }

 private:
  uint64_t seed_, tree_, next_ = 0;
};

struct Split {
  size_t axis = 0;
  uint32_t level = 0;  // the first of the upper part
  double gain = 0;     // by which the sum of squares falls
};

/// A regression tree (CART) over a bootstrap sample, grown until a node has few trials or one value.
class Tree {
 public:
  Tree(std::span<const Axis> axes, std::span<const Outcome> trials, Draws draws)
      : axes_(axes), trials_(trials), draws_(draws), seen_(trials.size()) {
    std::vector<size_t> sample(trials.size());
    for (auto& trial : sample) {
      trial = draws_.below(trials.size());
      seen_[trial] = true;
    }
    Leaf all;
    for (const auto& axis : axes) all.box.emplace_back(0, static_cast<uint32_t>(axis.weights.size()));
    grow(std::move(all), std::move(sample));
  }

  std::span<const Leaf> leaves() const { return leaves_; }
  bool has_seen(size_t trial) const { return seen_[trial]; }
  double predict(size_t trial) const {
    for (const auto& leaf : leaves_) {
      bool inside = true;
      for (size_t a = 0; a < axes_.size() && inside; ++a) {
        const uint32_t level = axes_[a].level_of[trial];
        inside = leaf.box[a].first <= level && level < leaf.box[a].second;
      }
      if (inside) return leaf.value;
    }
    return 0;  // never: the leaves cover everything
  }

 private:
  void grow(Leaf leaf, std::vector<size_t> sample) {
    const Split split = best_split(leaf, sample);
    if (split.gain <= 0) {
      for (size_t trial : sample) leaf.value += trials_[trial].value / static_cast<double>(sample.size());
      leaves_.push_back(std::move(leaf));
      return;
    }
    const auto& level_of = axes_[split.axis].level_of;
    const auto upper =
        std::stable_partition(sample.begin(), sample.end(), [&](size_t trial) { return level_of[trial] < split.level; });
    Leaf low = leaf, high = std::move(leaf);
    low.box[split.axis].second = split.level;
    high.box[split.axis].first = split.level;
    grow(std::move(low), {sample.begin(), upper});
    grow(std::move(high), {upper, sample.end()});
  }

  /// Over some of the axes, drawn anew; over the others too where those cannot split.
  Split best_split(const Leaf& leaf, const std::vector<size_t>& sample) {
    Split best;
    if (sample.size() < least_to_split) return best;
    std::vector<size_t> order(axes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto wanted = static_cast<size_t>(std::ceil(tried_share * static_cast<double>(order.size())));
    for (size_t i = 0; i < order.size(); ++i) {
      if (i >= wanted && best.gain > 0) break;
      std::swap(order[i], order[i + draws_.below(order.size() - i)]);
      split_axis(order[i], leaf, sample, best);
    }
    return best;
  }

  void split_axis(size_t a, const Leaf& leaf, const std::vector<size_t>& sample, Split& best) const {
    const auto [first, end] = leaf.box[a];
    std::vector<double> sums(end - first);
    std::vector<size_t> counts(end - first);
    double total = 0;
    for (size_t trial : sample) {
      const uint32_t level = axes_[a].level_of[trial] - first;
      sums[level] += trials_[trial].value;
      ++counts[level];
      total += trials_[trial].value;
    }
    const auto all = static_cast<double>(sample.size());
    double sum = 0;
    size_t count = 0;
    for (uint32_t level = 0; level + 1 < end - first; ++level) {
      sum += sums[level];
      count += counts[level];
      if (counts[level] == 0 || count == 0 || count == sample.size()) continue;
      const auto low = static_cast<double>(count), high = all - low;
      const double rest = total - sum;
      const double gain = sum * sum / low + rest * rest / high - total * total / all;
      // Rounding shall not look like a gain.
      if (gain > best.gain && gain > 1e-12 * (1 + total * total / all)) best = {a, first + level + 1, gain};
    }
  }

  std::span<const Axis> axes_;
  std::span<const Outcome> trials_;
  Draws draws_;
  std::vector<bool> seen_;
  std::vector<Leaf> leaves_;
};

double box_weight(const Leaf& leaf, std::span<const Axis> axes, size_t skip, size_t skip_too) {
  double weight = 1;
  for (size_t a = 0; a < axes.size(); ++a) {
    if (a != skip && a != skip_too) weight *= axes[a].weight(leaf.box[a].first, leaf.box[a].second);
  }
  return weight;
}

/// The variance of the tree's mean over all other parameters, as a function of the axes u and v (equal: of one): V_U of
/// the paper's equation 5 for one, and for two with what each has by itself in it. The leaves are added up by the
/// differences at their corners.
double marginal_variance(const Tree& tree, std::span<const Axis> axes, size_t u, size_t v, double mean) {
  const bool pair = u != v;
  const size_t rows = axes[u].weights.size(), columns = pair ? axes[v].weights.size() : 1;
  std::vector<double> marginal((rows + 1) * (columns + 1));
  const auto at = [&](size_t row, size_t column) -> double& { return marginal[row * (columns + 1) + column]; };
  for (const auto& leaf : tree.leaves()) {
    const double part = (leaf.value - mean) * box_weight(leaf, axes, u, v);
    const auto [first, end] = leaf.box[u];
    const auto [left, right] = pair ? leaf.box[v] : std::pair<uint32_t, uint32_t>(0, 1);
    at(first, left) += part;
    at(first, right) -= part;
    at(end, left) -= part;
    at(end, right) += part;
  }
  double variance = 0;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column) {
      if (row > 0) at(row, column) += at(row - 1, column);
      if (column > 0) at(row, column) += at(row, column - 1);
      if (row > 0 && column > 0) at(row, column) -= at(row - 1, column - 1);
      const double weight = axes[u].weights[row] * (pair ? axes[v].weights[column] : 1);
      variance += weight * at(row, column) * at(row, column);
    }
  }
  return variance;
}

/// One tree's shares: of the axes, then of the pairs (u < v). Empty where the tree is constant.
std::vector<double> shares_of(const Tree& tree, std::span<const Axis> axes) {
  const size_t none = axes.size();
  double mean = 0, total = 0;
  for (const auto& leaf : tree.leaves()) mean += leaf.value * box_weight(leaf, axes, none, none);
  for (const auto& leaf : tree.leaves()) {
    total += (leaf.value - mean) * (leaf.value - mean) * box_weight(leaf, axes, none, none);
  }
  std::vector<double> shares;
  if (total <= 0) return shares;
  for (size_t u = 0; u < axes.size(); ++u) shares.push_back(marginal_variance(tree, axes, u, u, mean) / total);
  for (size_t u = 0; u < axes.size(); ++u) {
    for (size_t v = u + 1; v < axes.size(); ++v) {
      const double both = marginal_variance(tree, axes, u, v, mean) / total;
      shares.push_back(std::max(0.0, both - shares[u] - shares[v]));
    }
  }
  return shares;
}

std::vector<Axis> axes_of(std::span<const Outcome> trials) {
  std::map<std::string, bool> names;
  for (const auto& trial : trials) {
    for (const auto& [name, value] : trial.params) names[name] = true;
  }
  std::vector<Axis> axes;
  for (const auto& [name, _] : names) {
    Axis axis = make_axis(name, trials);
    if (axis.weights.size() > 1) axes.push_back(std::move(axis));
  }
  return axes;
}

/// R² of the mean of those trees that have not seen the trial.
double out_of_bag(std::span<const Tree> forest, std::span<const Outcome> trials) {
  double mean = 0, wrong = 0, spread = 0;
  for (const auto& trial : trials) mean += trial.value / static_cast<double>(trials.size());
  for (size_t i = 0; i < trials.size(); ++i) {
    double sum = 0;
    uint64_t count = 0;
    for (const auto& tree : forest) {
      if (tree.has_seen(i)) continue;
      sum += tree.predict(i);
      ++count;
    }
    if (count == 0) continue;
    const double missed = trials[i].value - sum / static_cast<double>(count);
    wrong += missed * missed;
    spread += (trials[i].value - mean) * (trials[i].value - mean);
  }
  return spread > 0 ? 1 - wrong / spread : 0;
}

std::vector<Share> mean_shares(std::span<const std::vector<double>> of_trees, std::span<const Axis> axes) {
  std::vector<Share> shares;
  for (const auto& axis : axes) shares.push_back({axis.name, "", 0, 0});
  for (size_t u = 0; u < axes.size(); ++u) {
    for (size_t v = u + 1; v < axes.size(); ++v) shares.push_back({axes[u].name, axes[v].name, 0, 0});
  }
  const auto count = static_cast<double>(of_trees.size());
  for (size_t i = 0; i < shares.size(); ++i) {
    double squares = 0;
    for (const auto& tree : of_trees) shares[i].share += tree[i] / count;
    for (const auto& tree : of_trees) squares += (tree[i] - shares[i].share) * (tree[i] - shares[i].share) / count;
    shares[i].deviation = std::sqrt(squares);
  }
  std::ranges::stable_sort(shares, std::greater(), &Share::share);
  return shares;
}

}  // namespace

Result<Importance> importance(const std::vector<Outcome>& outcomes, uint64_t seed) {
  std::vector<Outcome> trials;
  std::ranges::copy_if(outcomes, std::back_inserter(trials), [](auto& trial) { return std::isfinite(trial.value); });
  if (trials.size() < least_trials) {
    return error("{} trials have a value of the metric; at least {} are needed to tell what it depends on",
                 trials.size(), least_trials);
  }
  const std::vector<Axis> axes = axes_of(trials);
  if (axes.empty()) return error("no parameter differs between the trials");
  const auto [least, most] = std::ranges::minmax(trials, {}, &Outcome::value);
  if (least.value == most.value) return error("the metric is {} in all trials", least.value);
  std::vector<Tree> forest;
  std::vector<std::vector<double>> shares;
  for (uint64_t i = 0; i < trees; ++i) {
    forest.emplace_back(axes, trials, Draws(seed, i));
    auto of_tree = shares_of(forest.back(), axes);
    if (!of_tree.empty()) shares.push_back(std::move(of_tree));
  }
  if (shares.empty()) return error("the trees find no parameter that the metric depends on");
  return Importance{mean_shares(shares, axes), out_of_bag(forest, trials), trials.size()};
}

}  // namespace hivq
