#pragma once

// A trial's newest checkpoint, from the coordinator's store to a file on this machine.

#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "jobs/client.h"

namespace hivq {

/// Writes it to `path`, every chunk checked against its SHA-256; gives its step. A checkpoint holds its own
/// specification (worker/model/model_file.h). A trial that runs may replace it meanwhile: the newer one is fetched
/// then. Errors: there is no such trial, it has no checkpoint, a chunk is damaged, the file cannot be written.
Result<int64_t> fetch_checkpoint(Client& client, const TrialId& trial, const std::string& path);

}  // namespace hivq
