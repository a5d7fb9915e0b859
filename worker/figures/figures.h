#pragma once

// The paper's figures as PNG files.

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string>

#include "common/result.h"

namespace hivq {

/// One class of Figure 1: the mean over its test images of ‖h0 − h̃0‖².
struct ClassError {
  std::string name;
  std::optional<double> normal, anomalous;
};

/// Bars per class: the reconstruction error of normal and of anomalous test images.
Status draw_figure1(const std::string& path, const std::string& title, std::span<const ClassError> classes);

/// One row of Figure 2. Images are uint8 [S, S, 3].
struct ExampleRow {
  std::string name, anomalous_name;
  at::Tensor normal, anomalous;
  at::Tensor reconstruction;  // painted from h̃0 of the anomalous image
  at::Tensor truth;           // uint8 [S, S], 1 where it is defective; undefined: not known
  at::Tensor map;             // [S, S]
};

/// The grid: normal image, anomalous image, reconstruction, ground truth, predicted map. All maps share one scale.
Status draw_figure2(const std::string& path, const std::string& title, std::span<const ExampleRow> rows);

}  // namespace hivq
