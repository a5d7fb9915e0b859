#pragma once

// A trained model with its backbone as one TorchScript program, which any LibTorch or Python can run without hivq.

#include <string>

#include "common/result.h"
#include "worker/backbone/efficientnet.h"
#include "worker/model/model_file.h"

namespace hivq {

/// Whether the program wants each image's class as its second input, since no classifier tells it.
bool takes_label(const TrainedModel& trained);

/// Writes forward(image [B, 3, S, S] float32 RGB 0 … 1 [, class [B] int64]) → (map [B, S, S], score [B], class [B]);
/// any B. Errors: the file cannot be written.
Status save_torchscript(const TrainedModel& trained, const EfficientNet& backbone, const std::string& path);

}  // namespace hivq
