#pragma once

// What this machine, or the container that it is, gives: cores, memory, disks, limits. Facts are read below a root, so
// that tests can make one up; what is said of them is pure.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "jobs/doctor/check.h"

namespace hivq::doctor {

struct Cores {
  int seen = 0;                 // logical CPUs that this process may use
  std::optional<double> quota;  // that the control groups leave it, in CPUs
};
/// The least cpu.max, or cpu.cfs_quota_us of version 1, of this process's control groups.
std::optional<double> read_cpu_quota(const std::filesystem::path& root);
Check check_cores(const Cores& cores);

struct Memory {
  uint64_t total = 0, available = 0;  // bytes of the machine
  std::optional<uint64_t> limit;      // of the control groups
  uint64_t used = 0;                  // of that limit
};
Memory read_memory(const std::filesystem::path& root);
Check check_memory(const Memory& memory);

/// A folder, or the nearest one above that is there.
struct Folder {
  std::string path;  // as the user knows it
  bool exists = false;
  std::string refusal;          // why no file can be made there; empty: one can
  uint64_t free = 0, size = 0;  // bytes of its disk
  int64_t type = 0;             // of its file system: statfs(2)'s f_type
};
/// Makes a file there and takes it away; makes no folder.
Folder read_folder(const std::string& path);

/// `ext4`, `NFS`; empty for one that is not known here.
std::string file_system_name(int64_t type);

/// The data folder: `locked_by` is the process that has its store open, 0 for none; `served` whether a coordinator of
/// it lives. `last_ended`: coordinator.json is of one that has ended.
struct DataFolder {
  Folder folder;
  int locked_by = 0;
  bool served = false, last_ended = false;
};
/// Who has the store's lock; 0 where nobody has, or there is no store.
int lock_holder(const std::string& data);
Check check_data(const DataFolder& data);

Check check_temporary(const Folder& folder);
/// /dev/shm, through which Open MPI's and NCCL's ranks of a host talk.
Check check_shared_memory(const Folder& folder);
Check check_open_files(uint64_t limit);

}  // namespace hivq::doctor
