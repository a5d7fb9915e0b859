#pragma once

// The commands of hivq-coordinator that look after a store: backup, restore, compact, verify. Each prints what it has
// done; an Error is a sentence for the user.

#include <string>

#include "common/keys.h"
#include "common/result.h"

namespace hivq {

/// A coordinator to ask, where it is not the one of a folder of this machine.
struct Elsewhere {
  std::string coordinator;  // tcp://HOST:PORT
  KeyOptions keys;
};
/// Copies the store of `data` into `folder`: through the coordinator that runs there, or elsewhere, else by itself.
Status make_backup(const std::string& data, const std::string& folder, uint64_t keep, const Elsewhere& elsewhere = {});
/// Prints the backups in `folder`.
Status list_backups(const std::string& folder);
/// Puts a backup (0: the newest) into the folder `data`, which must hold no store.
Status restore_backup(const std::string& folder, const std::string& data, uint64_t number);
/// Rewrites the store without what was erased; no coordinator may run on it.
Status compact_store(const std::string& data);
/// Reads everything and prints what is damaged; false: something is. No coordinator may run on it.
Result<bool> verify_store(const std::string& data);

}  // namespace hivq
