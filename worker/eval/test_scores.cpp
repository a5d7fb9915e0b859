#include "worker/eval/test_scores.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/eval/score.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

constexpr int64_t kBatch = 32;  // images

/// Test images that one rank scores: a class where there are masks, else a batch.
struct Group {
  int64_t class_index = -1;  // of a class
  std::vector<int64_t> images;
};

bool has_masks(const FeatureSet& features) {
  return features.protocol == Protocol::defects && features.test_mask != nullptr;
}

std::vector<Group> groups_of(const FeatureSet& features) {
  const auto images = static_cast<int64_t>(features.test_class.size());
  std::vector<Group> groups;
  if (has_masks(features)) {
    groups.resize(features.class_names.size());
    for (size_t c = 0; c < groups.size(); ++c) groups[c].class_index = static_cast<int64_t>(c);
    for (size_t i = 0; i < features.test_class.size(); ++i) {
      groups[static_cast<size_t>(features.test_class[i])].images.push_back(static_cast<int64_t>(i));
    }
  } else {
    for (int64_t first = 0; first < images; first += kBatch) {
      Group& batch = groups.emplace_back();
      batch.images.resize(static_cast<size_t>(std::min(kBatch, images - first)));
      std::iota(batch.images.begin(), batch.images.end(), first);
    }
  }
  return groups;
}

/// Those of this rank: from the largest on, each goes to the rank that has the fewest images.
std::vector<Group> groups_of_rank(std::vector<Group> groups, int rank, int ranks) {
  std::ranges::stable_sort(groups, std::greater(), [](const Group& group) { return group.images.size(); });
  std::vector<size_t> load(static_cast<size_t>(ranks), 0);
  std::vector<Group> mine;
  for (Group& group : groups) {
    const auto least = std::ranges::min_element(load);
    *least += group.images.size();
    if (least - load.begin() == rank) mine.push_back(std::move(group));
  }
  return mine;
}

enum Column : int64_t { kMax, kMean, kStd, kError, kPredicted, kLow, kHigh, kColumns };  // of an image
enum PixelColumn : int64_t { kPresent, kAuroc, kPrecision, kF1, kPro, kPixelColumns };   // of a class

/// What the ranks share: zeros but for a rank's own rows, and summed. Float64, so that no metric is rounded.
struct Tables {
  at::Tensor all;      // on the collective's device
  at::Tensor images;   // [m, kColumns] view
  at::Tensor classes;  // [classes, kPixelColumns] view
  at::Tensor failed;   // [ranks] view, 1 where a rank could not score its images

  Tables(int64_t image_count, int64_t class_count, int64_t ranks, at::Device device)
      : all(at::zeros({image_count * kColumns + class_count * kPixelColumns + ranks},
                      at::TensorOptions(at::kDouble).device(device))) {
    view(image_count, class_count, ranks);
  }
  Status share(Collective& collective) {
    if (Status shared = collective.all_reduce_sum(all); !shared) return shared;
    const int64_t image_count = images.size(0), class_count = classes.size(0), ranks = failed.size(0);
    all = all.to(at::kCPU);
    view(image_count, class_count, ranks);
    return {};
  }

 private:
  void view(int64_t image_count, int64_t class_count, int64_t ranks) {
    const int64_t first = image_count * kColumns, second = first + class_count * kPixelColumns;
    images = all.narrow(0, 0, first).view({image_count, kColumns});
    classes = all.narrow(0, first, second - first).view({class_count, kPixelColumns});
    failed = all.narrow(0, second, ranks);
  }
};

/// Scores the groups of one rank into its tables.
class RankScores {
 public:
  RankScores(const Model& model, const EvalSpec& spec, const FeatureSet& features, Tables& tables)
      : model_(model), spec_(spec), features_(features), tables_(tables) {
    labels_ = at::tensor(trained_class_of_test(features), at::kLong).to(features.test.device());
  }

  /// Errors: a mask that cannot be read; the disk.
  Status score_group(const Group& group) {
    PixelScores pixels;
    const std::span<const int64_t> images = group.images;
    for (size_t at = 0; at < images.size(); at += kBatch) {
      const auto batch = images.subspan(at, std::min<size_t>(kBatch, images.size() - at));
      const at::Tensor maps = score_batch(batch);
      if (group.class_index < 0) continue;
      if (Status added = add_pixels(pixels, batch, maps); !added) return added;
    }
    return group.class_index < 0 ? Status() : finish(pixels, group.class_index);
  }

 private:
  /// The upsampled maps [b, 16G, 16G].
  at::Tensor score_batch(std::span<const int64_t> batch) {
    const at::NoGradGuard no_gradients;
    const at::Tensor images =
        at::tensor(at::ArrayRef<int64_t>(batch.data(), batch.size()), at::kLong).to(features_.test.device());
    const at::Tensor h0 = tokens_of(features_.test, images);
    const Scored scored = score(model_, spec_, h0, labels_.index_select(0, images));
    const at::Tensor squared_error = (scored.reconstruction - h0).square().mean({1, 2});
    const at::Tensor pixels = scored.map.flatten(1);
    const at::Tensor rows =
        at::stack({scored.scores.max, scored.scores.mean, scored.scores.std, squared_error,
                   scored.predicted.to(squared_error.scalar_type()), pixels.amin(1), pixels.amax(1)},
                  1);
    tables_.images.index_copy_(0, images.to(tables_.all.device()), rows.to(tables_.all.options()));
    return scored.map;
  }

  Status add_pixels(PixelScores& pixels, std::span<const int64_t> batch, const at::Tensor& maps) {
    const at::Tensor values = maps.to(at::TensorOptions(at::kFloat).device(at::kCPU)).contiguous();
    const int64_t size = values.size(1);
    const auto area = static_cast<size_t>(size * size);
    for (size_t i = 0; i < batch.size(); ++i) {
      const std::span<const float> map(values.const_data_ptr<float>() + i * area, area);
      at::Tensor mask;  // of a normal image: none needed
      if (features_.test_anomalous[static_cast<size_t>(batch[i])]) {
        Result<at::Tensor> read = read_mask(batch[i], size);
        if (!read) return read.error();
        mask = std::move(*read);
      }
      const std::span<const uint8_t> flags(mask.defined() ? mask.const_data_ptr<uint8_t>() : nullptr,
                                           mask.defined() ? area : 0);
      if (Status added = pixels.add(map, flags, size, size); !added) {
        return error("test image `{}`: {}", test_name(features_, batch[i]), added.error().message);
      }
    }
    return {};
  }

  Result<at::Tensor> read_mask(int64_t image, int64_t size) const {
    Result<at::Tensor> mask = features_.test_mask(image);
    if (!mask) return mask;
    if (mask->dim() != 2 || mask->size(0) != size || mask->size(1) != size) {
      return error("the mask of test image `{}` has the shape {}, but its anomaly map is {} × {}",
                   test_name(features_, image), fmt::format("{}", fmt::join(mask->sizes(), " × ")), size, size);
    }
    return mask->to(at::kByte).contiguous();
  }

  Status finish(PixelScores& pixels, int64_t class_index) {
    const Result<std::optional<PixelMetrics>> metrics = pixels.compute();
    if (!metrics) return metrics.error();
    if (!*metrics) return {};
    const PixelMetrics& m = **metrics;
    tables_.classes[class_index].copy_(at::tensor(
        {1.0, m.ranking.auroc, m.ranking.average_precision, m.ranking.f1_max, m.area_under_pro}, at::kDouble));
    return {};
  }

  const Model& model_;
  const EvalSpec& spec_;
  const FeatureSet& features_;
  Tables& tables_;
  at::Tensor labels_;  // [m]
};

/// The text of rank `source` on every rank, cut where it is too long.
Result<std::string> text_of_rank(const std::string& text, int64_t source, Collective& collective) {
  constexpr int64_t kLongest = 2000;
  at::Tensor bytes = at::zeros({kLongest});
  for (size_t i = 0; source == collective.rank() && i < std::min<size_t>(text.size(), kLongest); ++i) {
    bytes[static_cast<int64_t>(i)] = static_cast<float>(static_cast<uint8_t>(text[i]));
  }
  bytes = bytes.to(collective.device());
  if (Status sent = collective.all_reduce_sum(bytes); !sent) return sent.error();
  bytes = bytes.to(at::TensorOptions(at::kByte).device(at::kCPU));
  const auto* begin = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  return std::string(begin, std::find(begin, begin + kLongest, '\0'));
}

/// Names the first image whose scores are not finite; empty where there is none.
std::string not_finite(const at::Tensor& images, const FeatureSet& features) {
  const at::Tensor broken = images.isfinite().all(1).logical_not().nonzero();
  if (broken.size(0) == 0) return {};
  const int64_t first = broken[0].item<int64_t>();
  const std::string name = test_name(features, first);
  if (!features.test[first].isfinite().all().item<bool>()) {
    return fmt::format("the features of test image `{}` are not finite; replace the image, or leave it out", name);
  }
  return fmt::format(
      "the scores of test image `{}` are not finite: the model has diverged; lower train.lr, or set "
      "train.clip",
      name);
}

template <typename T>
std::vector<T> column(const at::Tensor& table, int64_t which) {
  const at::Tensor values = table.select(1, which).contiguous();
  const double* begin = values.const_data_ptr<double>();
  std::vector<T> column;
  std::transform(begin, begin + values.numel(), std::back_inserter(column), [](double x) { return static_cast<T>(x); });
  return column;
}

std::map<int64_t, PixelMetrics> pixel_metrics(const at::Tensor& classes) {
  std::map<int64_t, PixelMetrics> metrics;
  const auto rows = classes.accessor<double, 2>();
  for (int64_t c = 0; c < classes.size(0); ++c) {
    if (rows[c][kPresent] == 0) continue;
    metrics[c] = {{rows[c][kAuroc], rows[c][kPrecision], rows[c][kF1]}, rows[c][kPro]};
  }
  return metrics;
}

}  // namespace

Result<TestScores> score_test_images(const Model& model, const EvalSpec& spec, const FeatureSet& features,
                                     Collective& collective) {
  Tables tables(features.test.size(0), static_cast<int64_t>(features.class_names.size()), collective.size(),
                collective.device());
  std::string failure;  // this rank's: it must still meet the others
  RankScores mine(model, spec, features, tables);
  for (const Group& group : groups_of_rank(groups_of(features), collective.rank(), collective.size())) {
    const Status done = mine.score_group(group);
    if (done) continue;
    failure = done.error().message;
    tables.failed[collective.rank()] = 1;
    break;
  }
  if (Status shared = tables.share(collective); !shared) return shared.error();

  TestScores scores;
  scores.failure = not_finite(tables.images, features);
  if (!scores.failure.empty()) return scores;
  if (const at::Tensor failed = tables.failed.nonzero(); failed.size(0) > 0) {
    Result<std::string> reason = text_of_rank(failure, failed[0].item<int64_t>(), collective);
    if (!reason) return reason.error();
    scores.failure = std::move(*reason);
    return scores;
  }
  scores.max = column<float>(tables.images, kMax);
  scores.mean = column<float>(tables.images, kMean);
  scores.std = column<float>(tables.images, kStd);
  scores.error = column<double>(tables.images, kError);
  scores.predicted = column<int64_t>(tables.images, kPredicted);
  if (tables.images.size(0) > 0) {
    scores.map_low = tables.images.select(1, kLow).min().item<float>();
    scores.map_high = tables.images.select(1, kHigh).max().item<float>();
  }
  scores.pixels = pixel_metrics(tables.classes);
  return scores;
}

const std::vector<float>& chosen_scores(const TestScores& scores, const EvalSpec& spec) {
  return spec.score == "max" ? scores.max : spec.score == "mean" ? scores.mean : scores.std;
}

std::vector<int64_t> trained_class_of_test(const FeatureSet& features) {
  std::vector<int64_t> index;
  for (const int64_t name : features.test_class) {
    const auto found = std::ranges::find(features.trained_classes, name);
    index.push_back(found == features.trained_classes.end() ? -1 : found - features.trained_classes.begin());
  }
  return index;
}

std::string test_name(const FeatureSet& features, int64_t index) {
  const auto at = static_cast<size_t>(index);
  return at < features.test_name.size() ? features.test_name[at] : fmt::format("{}", index);
}

}  // namespace hivq
