#pragma once

// Work that nothing waits for until the end of a step, such as the gradients of parameters, beside what the current
// stream does: on a GPU many kernels are too small to fill it. In a recorded step it becomes a branch of the graph.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace hivq {

/// Puts `work` on the device's other stream, behind what the current one has been given so far. `uses`: the tensors
/// that it reads and that may be given up before it has run. Elsewhere than on a GPU it runs at once.
void beside(at::Device device, const std::vector<at::Tensor>& uses, const std::function<void()>& work);

/// What the current stream is given from now on waits for all work that was put beside it.
void join_beside(at::Device device);

}  // namespace hivq
