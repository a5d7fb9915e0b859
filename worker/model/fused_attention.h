#pragma once

// Attention on CPUs, one image and head at a time, so that the N×N weights stay in a core's cache from the logits to
// the values, forward and backward (Dao et al., NeurIPS 2022, "FlashAttention", section 3.1: they are not kept but
// computed again). Against the same in tensor operations (attend() in layers.cpp, which is its reference in the tests):
// step_bench.cpp, `attention`.

#include <ATen/core/Tensor.h>

#include "worker/model/layers.h"

namespace hivq {

/// What attend() gives, for float32 and float64 on the CPU. q, k, v [b, N, D] may be views whose rows lie apart.
at::Tensor fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerSetting& how);

}  // namespace hivq
