#pragma once

// The GPUs that this process could compute on, for reports.

#include <cstdint>
#include <string>
#include <vector>

namespace hivq {

struct Gpu {
  std::string name;     // NVIDIA H100 80GB HBM3
  uint64_t memory = 0;  // bytes
};

struct SeenGpus {
  bool built_with_cuda = false;
  std::string driver, runtime;  // the newest CUDA that the driver can do, and the one built with: 13.0; empty: none
  std::vector<Gpu> gpus;        // in CUDA's order
  std::string problem;          // why CUDA sees none, in its own words; empty: it sees some, or was not built in
};

SeenGpus see_gpus();

}  // namespace hivq
