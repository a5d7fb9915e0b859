#pragma once

// What the commands that use a trained model share.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/backbone/efficientnet.h"
#include "worker/data/feature_set.h"
#include "worker/model/model_file.h"

namespace CLI {
class App;
}

namespace hivq {

/// The backbone whose features the model takes. Errors: its weights are missing, or give another number of channels.
Result<EfficientNet> backbone_of(const TrainedModel& trained, const FeaturePlaces& places);

/// The features of a data set for this model. Errors: as load_features(); another number of channels or tokens than the
/// model's; classes that the model does not know.
Result<FeatureSet> features_for(const TrainedModel& trained, const DataSpec& data, const FeaturePlaces& places);

/// A specification whose data, backbone and scores take the place of the model's own.
struct SpecOption {
  std::string file;  // empty: the model's own
  std::vector<std::string> sets;
};
void add_spec(CLI::App& app, SpecOption& spec);
/// Errors: the file's, with line and remedy.
Status take_spec(const SpecOption& option, TrainedModel& trained);

/// `what 3/8` on a terminal's standard error, over itself.
void show_progress(std::string_view what, int64_t done, int64_t total);

}  // namespace hivq
