#pragma once

// The zip archives that torch.save writes: their files lie in them as they are, not compressed.

#include <map>
#include <string>
#include <string_view>

#include "common/result.h"

namespace hivq {

/// The archive's files by name, as views into `bytes`. Every checksum is verified, but for those that PyTorch was told
/// not to compute. Any bytes are safe to pass. Errors, which name `origin`: damage, compression, more than one part.
Result<std::map<std::string, std::string_view>> read_zip(std::string_view bytes, std::string_view origin);

}  // namespace hivq
