#pragma once

// Evaluation of a model on the test images, shared by the ranks.

#include <map>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/eval/test_scores.h"
#include "worker/model/model.h"

namespace hivq {

struct Evaluation {
  std::map<std::string, double> metrics;
  /// The trial's own failure, the same on every rank: a mask that cannot be read, scores that are not finite, settings
  /// that the model does not allow, no room on the disk. Empty: none.
  std::string failure;
  TestScores scores = {};  // that the metrics are of
};

/// The metrics, the same on every rank and for any number of ranks. Those that the test images do not allow (an AUROC
/// without anomalous images) are absent. `<class>` is metric_names()'s.
///
/// Of the images' scores (ranking.h), as `spec.eval.score` chooses them:
///   auroc, ap, f1_max                   many_class: over all test images; defects: the mean over the classes
///   auroc_max, auroc_mean, auroc_std    the same of each kind of score
///   auroc/<class>, ap/<class>, f1_max/<class>                                       defects
/// Of the pixels (pixel_metrics.h), where the set has masks, with the mean over the classes under the bare name:
///   pixel_auroc/<class>, pixel_ap/<class>, pixel_f1_max/<class>, pro/<class>        defects
/// Of the reconstruction (Figure 1): the mean over the images of ‖h0 − h̃0‖², itself a mean over elements:
///   error_normal, error_anomalous, error_normal/<class>, error_anomalous/<class>
/// Of the classifier, where it is trained, on the normal test images of trained classes:
///   classifier_accuracy                 share that it gets right
///   confusion/<true>/<predicted>        images; pairs that do not occur are absent
///
/// An Error is the collective's.
Result<Evaluation> evaluate(const Model& model, const TrialSpec& spec, const FeatureSet& features,
                            Collective& collective);

/// The classes as parts of a metric's name: what is not a letter, a digit, `_`, `.` or `-` becomes `_`, at most 64
/// bytes each, and all differ: where two would be one, the later gets its index appended.
std::vector<std::string> metric_names(const std::vector<std::string>& class_names);

}  // namespace hivq
