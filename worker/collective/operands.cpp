#include "worker/collective/operands.h"

namespace hivq {

Status check_broadcast(const at::Tensor& tensor, at::Device device) {
  if (!tensor.defined()) return error("a collective operation was given an undefined tensor");
  if (tensor.device().type() != device.type() || (device.has_index() && tensor.device() != device)) {
    return error("a collective operation over {} was given a tensor on {}", device.str(), tensor.device().str());
  }
  if (!tensor.is_contiguous()) return error("a collective operation was given a tensor that is not contiguous");
  return {};
}

Status check_all_reduce(const at::Tensor& tensor, at::Device device) {
  if (Status usable = check_broadcast(tensor, device); !usable) return usable;
  if (tensor.scalar_type() != at::kFloat && tensor.scalar_type() != at::kDouble) {
    return error("an all-reduce was given a tensor of {}; it sums float32 and float64", toString(tensor.scalar_type()));
  }
  return {};
}

}  // namespace hivq
