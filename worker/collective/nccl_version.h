#pragma once

#include <string>

namespace hivq {

/// The NCCL that this program runs with, `2.28.9`; empty where it was built without CUDA.
std::string nccl_version();

}  // namespace hivq
