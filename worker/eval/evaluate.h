#pragma once

// Evaluation of a model on the test images, shared by the ranks.

#include <map>
#include <string>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/model/model.h"

namespace hivq {

/// The metrics, the same on every rank:
///   auroc                            of the scores that `spec.eval.score` chooses, over all test images
///   auroc_max, auroc_mean, auroc_std of each kind of score
///   error_normal, error_anomalous    mean over the images of ‖h0 − h̃0‖², a mean over elements
///   classifier_accuracy              on the normal images
/// Those that the test images do not allow (an AUROC without anomalous images) are absent.
/// With `switch: label` an image whose class is no trained one, and so has no codebook, is switched by prediction.
Result<std::map<std::string, double>> evaluate(const Model& model, const TrialSpec& spec, const FeatureSet& features,
                                               Collective& collective);

}  // namespace hivq
