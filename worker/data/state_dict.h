#pragma once

// Files of named tensors, whoever wrote them: backbone weights and checkpoints as safetensors or as PyTorch's .pth.

#include <string>
#include <string_view>

#include "common/result.h"
#include "worker/data/safetensors.h"

namespace hivq {

/// Reads a .safetensors file, or a file of torch.save in either of its formats (.pth, .pth.tar); which it is, is told
/// by its bytes, not by its name. Of a checkpoint that holds its tensors under `state_dict` or `model`, those are read.
/// `module.`, which DistributedDataParallel puts before every name, is taken away.
/// Any bytes are safe: nothing in the file is run, and a damaged or strange file gives an Error that says what is wrong
/// with it. `origin` names it there.
Result<SafeTensors> read_state_dict(std::string_view bytes, std::string_view origin);
Result<SafeTensors> load_state_dict(const std::string& path);

}  // namespace hivq
