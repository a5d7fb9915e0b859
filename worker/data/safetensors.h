#pragma once

// The safetensors file format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.
// It carries backbone weights and checkpoints. Source: https://github.com/huggingface/safetensors, "Format".

#include <ATen/core/Tensor.h>

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"

namespace hivq {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

struct SafeTensors {
  std::map<std::string, at::Tensor> tensors;  // contiguous, on the CPU, owning their memory
  std::map<std::string, std::string> metadata;
};

/// The tensors and metadata as the bytes of a safetensors file. Tensors may lie on any device and need not be
/// contiguous; the same input gives the same bytes. Types: float64, float32, float16, bfloat16, int64, int32, uint8,
/// bool; another type, and a name that occurs twice, break an invariant of the caller.
std::string write_safetensors(std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {});

/// Reads a safetensors file from memory. `origin` names it in errors: a path, or "checkpoint of trial 7".
/// Any bytes are safe to pass: a damaged file gives an Error that says what is wrong with it.
Result<SafeTensors> read_safetensors(std::string_view bytes, std::string_view origin);

/// Reads a safetensors file from disk.
Result<SafeTensors> load_safetensors(const std::string& path);

/// Writes a safetensors file in one step: a reader sees the whole new file or none of it.
Status save_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata = {});

}  // namespace hivq
