#pragma once

// A trial's newest checkpoint, from the coordinator's store to files on this machine.

#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "jobs/client.h"

namespace hivq {

struct CheckpointFiles {
  int64_t step = 0;
  std::string checkpoint;  // safetensors
  std::string spec;        // the trial's resolved specification, YAML
};

/// Writes both files into the folder, every chunk checked against its SHA-256. A trial that runs may replace its
/// checkpoint meanwhile: the newer one is fetched then. Errors: there is no such trial, it has no checkpoint, a chunk
/// is damaged, the folder cannot be written.
Result<CheckpointFiles> fetch_checkpoint(Client& client, const TrialId& trial, const std::string& folder);

}  // namespace hivq
