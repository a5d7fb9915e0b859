#pragma once

// DATA/coordinator.json: where the coordinator of a data folder is, written by it and read by who looks for it.

#include <optional>
#include <string>

#include "common/process.h"
#include "common/result.h"

namespace hivq {

struct CoordinatorFile {
  std::string endpoint;  // tcp://127.0.0.1:4487
  ProcessId process;
  std::string http;       // http://127.0.0.1:4488; empty: no dashboard
  std::string keys = {};  // folder of keys (allow_list.h); empty: it asks for none
};

/// Of the last run in this folder, whether it lives or not. Nothing: there was none, or the file is damaged.
std::optional<CoordinatorFile> read_coordinator_file(const std::string& data);
/// The same, where that coordinator runs now.
std::optional<CoordinatorFile> live_coordinator(const std::string& data);
/// In one step. Errors: the folder cannot be written.
Status write_coordinator_file(const std::string& data, const CoordinatorFile& file);

}  // namespace hivq
