#include "worker/eval/evaluate.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "worker/eval/ranking.h"
#include "worker/eval/score.h"
#include "worker/eval/test_scores.h"

namespace hivq {
namespace {

using Metrics = std::map<std::string, double>;
using Images = std::vector<size_t>;  // positions among the test images

/// Means over classes by the metric's name; a class that lacks a metric does not count.
class ClassMeans {
 public:
  /// Adds `name/<class>` to the metrics and to the mean.
  void add(Metrics& metrics, const std::string& name, const std::string& class_name, double value) {
    metrics[name + "/" + class_name] = value;
    add(name, value);
  }
  void add(const std::string& name, double value) { values_[name].push_back(value); }
  void write(Metrics& metrics) const {
    for (const auto& [name, values] : values_) {
      metrics[name] = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    }
  }

 private:
  std::map<std::string, std::vector<double>> values_;
};

/// Writes the metrics of one evaluation from the scores of the images.
class Report {
 public:
  Report(const TrialSpec& spec, const FeatureSet& features, const TestScores& scores)
      : spec_(spec), features_(features), scores_(scores), names_(metric_names(features.class_names)) {}

  Metrics metrics() {
    all_.resize(features_.test_class.size());
    std::iota(all_.begin(), all_.end(), size_t{0});
    of_class_.resize(names_.size());
    for (const size_t i : all_) of_class_[static_cast<size_t>(features_.test_class[i])].push_back(i);
    image_metrics();
    pixel_metrics();
    reconstruction_errors();
    if (spec_.loss.classification > 0) classifier();
    means_.write(metrics_);
    return std::move(metrics_);
  }

 private:
  std::optional<Ranking> ranking_of(const std::vector<float>& scores, const Images& images) const {
    std::vector<float> chosen;
    std::vector<uint8_t> anomalous;
    for (const size_t i : images) {
      chosen.push_back(scores[i]);
      anomalous.push_back(features_.test_anomalous[i] ? 1 : 0);
    }
    return ranking(chosen, anomalous);
  }

  /// many_class takes all images as one class without a name.
  void image_metrics() {
    const bool by_class = features_.protocol == Protocol::defects;
    const std::vector<Images> groups = by_class ? of_class_ : std::vector<Images>{all_};
    const std::map<std::string, const std::vector<float>&> kinds = {
        {"max", scores_.max}, {"mean", scores_.mean}, {"std", scores_.std}};
    for (size_t g = 0; g < groups.size(); ++g) {
      for (const auto& [kind, scores] : kinds) {
        const std::optional<Ranking> found = ranking_of(scores, groups[g]);
        if (!found) continue;
        means_.add("auroc_" + kind, found->auroc);
        if (kind != spec_.eval.score) continue;
        const Metrics chosen = {{"auroc", found->auroc}, {"ap", found->average_precision}, {"f1_max", found->f1_max}};
        for (const auto& [name, value] : chosen) {
          by_class ? means_.add(metrics_, name, names_[g], value) : means_.add(name, value);
        }
      }
    }
  }

  void pixel_metrics() {
    for (const auto& [c, pixels] : scores_.pixels) {
      const std::string& name = names_[static_cast<size_t>(c)];
      means_.add(metrics_, "pixel_auroc", name, pixels.ranking.auroc);
      means_.add(metrics_, "pixel_ap", name, pixels.ranking.average_precision);
      means_.add(metrics_, "pixel_f1_max", name, pixels.ranking.f1_max);
      means_.add(metrics_, "pro", name, pixels.area_under_pro);
    }
  }

  void reconstruction_error(const std::string& suffix, const Images& images) {
    double sum[2] = {0, 0};  // normal, anomalous
    int64_t count[2] = {0, 0};
    for (const size_t i : images) {
      const size_t kind = features_.test_anomalous[i] ? 1 : 0;
      sum[kind] += scores_.error[i];
      ++count[kind];
    }
    if (count[0] > 0) metrics_["error_normal" + suffix] = sum[0] / static_cast<double>(count[0]);
    if (count[1] > 0) metrics_["error_anomalous" + suffix] = sum[1] / static_cast<double>(count[1]);
  }

  void reconstruction_errors() {
    reconstruction_error("", all_);
    for (size_t c = 0; c < names_.size(); ++c) reconstruction_error("/" + names_[c], of_class_[c]);
  }

  void classifier() {
    const std::vector<int64_t> truth = trained_class_of_test(features_);
    int64_t right = 0, images = 0;
    for (const size_t i : all_) {
      if (features_.test_anomalous[i] || truth[i] < 0) continue;
      ++images;
      if (scores_.predicted[i] == truth[i]) ++right;
      metrics_["confusion/" + trained_name(truth[i]) + "/" + trained_name(scores_.predicted[i])] += 1;
    }
    if (images > 0) metrics_["classifier_accuracy"] = static_cast<double>(right) / static_cast<double>(images);
  }

  const std::string& trained_name(int64_t index) const {
    return names_[static_cast<size_t>(features_.trained_classes[static_cast<size_t>(index)])];
  }

  const TrialSpec& spec_;
  const FeatureSet& features_;
  const TestScores& scores_;
  std::vector<std::string> names_;  // by class
  Images all_;
  std::vector<Images> of_class_;
  ClassMeans means_;
  Metrics metrics_;
};

}  // namespace

Result<Evaluation> evaluate(const Model& model, const TrialSpec& spec, const FeatureSet& features,
                            Collective& collective) {
  if (Status possible = check_eval(spec.eval, model.levels()); !possible)
    return Evaluation{{}, possible.error().message};
  Result<TestScores> scores = score_test_images(model, spec.eval, features, collective);
  if (!scores) return scores.error();
  if (!scores->failure.empty()) return Evaluation{{}, scores->failure};
  Evaluation evaluation{Report(spec, features, *scores).metrics(), {}};
  evaluation.scores = std::move(*scores);
  return evaluation;
}

std::vector<std::string> metric_names(const std::vector<std::string>& class_names) {
  constexpr size_t kLongest = 64;  // bytes; the coordinator takes names of 200, and a confusion has two classes
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const std::string& class_name : class_names) {
    std::string name = class_name.substr(0, kLongest);
    for (char& c : name) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                         c == '.' || c == '-';
      if (!plain) c = '_';
    }
    if (name.empty()) name = "_";
    const std::string base = name;
    for (size_t i = names.size(); !taken.insert(name).second; ++i) name = fmt::format("{}_{}", base, i);
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace hivq
