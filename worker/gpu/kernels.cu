// Our own kernels for GPUs. NVRTC compiles each on the machine that it runs on (kernels.cpp); the tests run them on the
// CPU, too. T: float or double, of what is computed; Low: T, or Bfloat16, of what is multiplied in it. Where a warp has a
// row to itself, its lanes take columns 32 apart.

#include "worker/gpu/kernels/warp.cuh"
#include "worker/gpu/kernels/dropout.cuh"
#include "worker/gpu/kernels/layers.cuh"
#include "worker/gpu/kernels/attention.cuh"
#include "worker/gpu/kernels/attention_tiles.cuh"
#include "worker/gpu/kernels/codebooks.cuh"
#include "worker/gpu/kernels/pot.cuh"
#include "worker/gpu/kernels/adamw.cuh"
