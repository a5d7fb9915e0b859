#pragma once

// Files of torch.save: tensors by name, read without Python and without running anything. Two formats: a zip archive
// (since PyTorch 1.6) of data.pkl and a file per storage, and before that a row of pickles with the storages behind.
// Source: torch/serialization.py.

#include <string_view>

#include "common/result.h"
#include "worker/data/safetensors.h"

namespace hivq {

/// Whether the bytes begin as a file of torch.save does, of either format.
bool is_torch_file(std::string_view bytes);

/// The tensors of the mapping that the file holds, or that it holds under `state_dict` or `model`; what is no tensor
/// there is left out. Any bytes are safe to pass. Errors, which name `origin`: damage, a global other than tensors and
/// plain values need, no tensors.
Result<SafeTensors> read_torch_file(std::string_view bytes, std::string_view origin);

}  // namespace hivq
