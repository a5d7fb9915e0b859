#include "worker/data/state_dict.h"

#include <algorithm>

#include "worker/data/file.h"
#include "worker/data/torch_file.h"

namespace hivq {
namespace {

constexpr std::string_view kParallelPrefix = "module.";

void strip_parallel_prefix(SafeTensors& file) {
  const auto has_prefix = [](const auto& named) { return named.first.starts_with(kParallelPrefix); };
  if (!std::ranges::all_of(file.tensors, has_prefix)) return;
  std::map<std::string, at::Tensor> stripped;
  for (auto& [name, tensor] : file.tensors) stripped.emplace(name.substr(kParallelPrefix.size()), std::move(tensor));
  file.tensors = std::move(stripped);
}

}  // namespace

Result<SafeTensors> read_state_dict(std::string_view bytes, std::string_view origin) {
  Result<SafeTensors> file = is_torch_file(bytes) ? read_torch_file(bytes, origin) : read_safetensors(bytes, origin);
  if (file) strip_parallel_prefix(*file);
  return file;
}

Result<SafeTensors> load_state_dict(const std::string& path) {
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  return read_state_dict(*bytes, path);
}

}  // namespace hivq
