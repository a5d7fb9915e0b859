#include "worker/collective/nccl_version.h"

#include <fmt/format.h>

#ifdef HIVQ_CUDA
#include <nccl.h>
#endif

namespace hivq {

std::string nccl_version() {
#ifdef HIVQ_CUDA
  int code = 0;  // 22809 is 2.28.9
  if (ncclGetVersion(&code) == ncclSuccess) return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
#endif
  return "";
}

}  // namespace hivq
