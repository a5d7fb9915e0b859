#include "jobs/doctor/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "jobs/views/format.h"

namespace hivq::doctor {

namespace {

namespace fs = std::filesystem;

constexpr double MiB = 1 << 20, GiB = 1 << 30;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<double> number_in(const fs::path& path) {
  std::istringstream text(first_line(path));
  double number = 0;
  return text >> number ? std::optional(number) : std::nullopt;
}

/// The folders of this process's control groups for a controller, its own first, then those above: of version 2, and of
/// version 1 where that has the controller. A limit of any of them holds.
std::vector<fs::path> control_groups(const fs::path& root, const std::string& controller) {
  std::vector<fs::path> folders;
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // 4:cpu,cpuacct:/a/b, or 0::/a/b
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = names == ",,";
    if (!unified && names.find("," + controller + ",") == std::string::npos) continue;
    const fs::path top = root / "sys/fs/cgroup" / (unified ? "" : controller);
    fs::path below = fs::path(line.substr(second + 1)).relative_path();
    while (true) {
      folders.push_back(top / below);
      if (below.empty()) break;
      below = below.parent_path();
    }
  }
  return folders;
}

void keep_least(std::optional<double>& least, double value) { least = std::min(least.value_or(value), value); }

std::string limit_text(double cpus) {
  return std::abs(cpus - std::round(cpus)) < 0.05 ? fmt::format("{:.0f}", cpus) : fmt::format("{:.1f}", cpus);
}

}  // namespace

// ---- Cores ----

std::optional<double> read_cpu_quota(const fs::path& root) {
  std::optional<double> least;
  for (const fs::path& group : control_groups(root, "cpu")) {
    std::istringstream both(first_line(group / "cpu.max"));  // `200000 100000`, or `max 100000`
    double quota = 0, period = 0;
    if (both >> quota >> period && period > 0) keep_least(least, quota / period);
    const auto old = number_in(group / "cpu.cfs_quota_us"), span = number_in(group / "cpu.cfs_period_us");
    if (old && span && *old > 0 && *span > 0) keep_least(least, *old / *span);
  }
  return least;
}

Check check_cores(const Cores& cores) {
  Check check{"cores", Verdict::ok, count_text(static_cast<uint64_t>(cores.seen), "CPU"), ""};
  if (!cores.quota || *cores.quota >= cores.seen - 0.05) return check;
  const int whole = std::max(1, static_cast<int>(*cores.quota));
  check.verdict = Verdict::warning;
  check.found += fmt::format(
      " seen, but the container may use {} at a time: ranks would start a thread for each that "
      "they see, and wait for each other",
      limit_text(*cores.quota));
  check.remedy = fmt::format(
      "taskset -c 0{} hivq …, hivq-worker --threads N, or whole cores for the container (docker --cpuset-cpus; "
      "Kubernetes' static CPU policy)",
      whole == 1 ? "" : fmt::format("-{}", whole - 1));
  return check;
}

// ---- Memory ----

Memory read_memory(const fs::path& root) {
  Memory memory;
  std::ifstream file(root / "proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kib = 0;
    words >> name >> kib;
    if (name == "MemTotal:") memory.total = kib << 10;
    if (name == "MemAvailable:") memory.available = kib << 10;
  }
  for (const fs::path& group : control_groups(root, "memory")) {
    for (auto [limit, used] :
         {std::pair{"memory.max", "memory.current"}, {"memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
      const auto most = number_in(group / limit);  // `max` is no number; version 1 has 2^63 for it
      if (!most || *most >= static_cast<double>(memory.total)) continue;
      if (memory.limit && static_cast<double>(*memory.limit) <= *most) continue;
      memory.limit = static_cast<uint64_t>(*most);
      memory.used = static_cast<uint64_t>(number_in(group / used).value_or(0));
    }
  }
  return memory;
}

Check check_memory(const Memory& memory) {
  constexpr double wanted = 2 * GiB, least = 0.5 * GiB;
  Check check{"memory", Verdict::ok, "", ""};
  auto free = static_cast<double>(memory.available);
  check.found = fmt::format("{} free of {}", bytes_text(free), bytes_text(static_cast<double>(memory.total)));
  if (memory.limit) {
    const auto limit = static_cast<double>(*memory.limit);
    free = std::min(free, std::max(0.0, limit - static_cast<double>(memory.used)));
    check.found = fmt::format("{} free of the container's {} (the machine has {})", bytes_text(free), bytes_text(limit),
                              bytes_text(static_cast<double>(memory.total)));
  }
  if (free >= wanted) return check;
  check.verdict = free < least ? Verdict::problem : Verdict::warning;
  check.found += ": a coordinator and two ranks want about 2 GiB";
  check.remedy = memory.limit ? "give the container more memory (docker --memory, Kubernetes' limits.memory)"
                              : "end what else runs here, or use a machine with more memory";
  return check;
}

// ---- Folders ----

Folder read_folder(const std::string& path) {
  Folder folder{path, false, "", 0, 0, 0};
  std::error_code failed;
  fs::path nearest = path.empty() ? fs::path(".") : fs::path(path);
  folder.exists = fs::exists(nearest, failed);
  nearest = fs::absolute(nearest, failed);
  while (!fs::exists(nearest, failed) && nearest.has_relative_path()) nearest = nearest.parent_path();
  if (!fs::is_directory(nearest, failed)) {
    folder.refusal = fmt::format("{} is no folder", nearest.string());
    return folder;
  }
  std::string probe = (nearest / ".hivq-doctor-XXXXXX").string();
  const int file = mkostemp(probe.data(), O_CLOEXEC);
  if (file < 0) folder.refusal = fmt::format("{}: {}", nearest.string(), std::strerror(errno));
  if (file >= 0) {
    close(file);
    unlink(probe.c_str());
  }
  struct statfs disk {};
  if (statfs(nearest.c_str(), &disk) == 0) {
    folder.free = static_cast<uint64_t>(disk.f_bavail) * static_cast<uint64_t>(disk.f_bsize);
    folder.size = static_cast<uint64_t>(disk.f_blocks) * static_cast<uint64_t>(disk.f_bsize);
    folder.type = static_cast<int64_t>(disk.f_type) & 0xffffffff;
  }
  return folder;
}

namespace {

struct FileSystem {
  int64_t type;  // statfs(2)
  const char* name;
  const char* risk;  // for a store; empty: none
};
constexpr const char* locks = "its locks and syncs cannot be relied on, and a store needs both";
constexpr std::array file_systems = {
    FileSystem{0xef53, "ext4", ""},
    FileSystem{0x58465342, "XFS", ""},
    FileSystem{0x9123683e, "Btrfs", ""},
    FileSystem{0x2fc12fc1, "ZFS", ""},
    FileSystem{0xf2f52010, "F2FS", ""},
    FileSystem{0x794c7630, "overlayfs", ""},
    FileSystem{0x01021994, "tmpfs", "it is memory, and gone when the machine starts again"},
    FileSystem{0x6969, "NFS", locks},
    FileSystem{0x517b, "SMB", locks},
    FileSystem{0xff534d42, "CIFS", locks},
    FileSystem{0xfe534d42, "SMB2", locks},
    FileSystem{0x01021997, "9p", locks},
    FileSystem{0x65735546, "FUSE", locks},
    FileSystem{0x5346414f, "AFS", locks},
};

const FileSystem* find_file_system(int64_t type) {
  const auto* found = std::find_if(file_systems.begin(), file_systems.end(),
                                   [&](const FileSystem& system) { return system.type == type; });
  return found == file_systems.end() ? nullptr : found;
}

}  // namespace

std::string file_system_name(int64_t type) {
  const FileSystem* known = find_file_system(type);
  return known == nullptr ? "" : known->name;
}

int lock_holder(const std::string& data) {
  const int file = open((data + "/store/LOCK").c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return 0;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool asked = fcntl(file, F_GETLK, &lock) == 0;
  close(file);
  // −1: its holder is in another container or on another machine.
  return asked && lock.l_type != F_UNLCK ? (lock.l_pid > 0 ? lock.l_pid : -1) : 0;
}

Check check_data(const DataFolder& data) {
  const Folder& folder = data.folder;
  Check check{"data", Verdict::ok, "", ""};
  const std::string system = file_system_name(folder.type);
  check.found = fmt::format("{}{}: {} free{}", folder.path, folder.exists ? "" : " (not made yet)",
                            bytes_text(static_cast<double>(folder.free)), system.empty() ? "" : " on " + system);
  if (!folder.refusal.empty()) {
    check.verdict = Verdict::problem;
    check.found = fmt::format("{} cannot be written: {}", folder.path, folder.refusal);
    check.remedy = "name a folder of yours with --data DIR";
    return check;
  }
  if (data.locked_by != 0 && !data.served) {
    check.verdict = Verdict::problem;
    check.found += fmt::format(", but {} has its store open and is no coordinator that it names",
                               data.locked_by > 0 ? fmt::format("process {}", data.locked_by)
                                                  : std::string("a process of another container or machine"));
    check.remedy = "end that program, or name another folder with --data DIR";
    return check;
  }
  if (static_cast<double>(folder.free) < 5 * GiB) {
    check.verdict = static_cast<double>(folder.free) < 0.5 * GiB ? Verdict::problem : Verdict::warning;
    check.found += ": checkpoints and features soon want 5 GiB";
    check.remedy = "free space there, or name a folder on another disk with --data DIR";
    return check;
  }
  if (const FileSystem* known = find_file_system(folder.type); known != nullptr && *known->risk != '\0') {
    check.verdict = Verdict::warning;
    check.found += fmt::format(": {}", known->risk);
    check.remedy = "name a folder on a disk of this machine with --data DIR";
    return check;
  }
  if (data.served) check.found += ", in use by its coordinator";
  if (data.last_ended && !data.served) check.found += "; its coordinator has ended, the next one goes on from there";
  return check;
}

Check check_temporary(const Folder& folder) {
  Check check{"TMPDIR", Verdict::ok, "", ""};
  check.found = fmt::format("{}: {} free", folder.path, bytes_text(static_cast<double>(folder.free)));
  if (!folder.refusal.empty()) {
    check.verdict = Verdict::problem;
    check.found = fmt::format("{} cannot be written: {}", folder.path, folder.refusal);
    check.remedy = "export TMPDIR=/a/folder/of/yours; mpirun and hivq predict need it";
  } else if (static_cast<double>(folder.free) < 200 * MiB) {
    check.verdict = Verdict::warning;
    check.found += ": mpirun and checkpoints that are fetched want 200 MiB";
    check.remedy = "free space there, or export TMPDIR=/a/folder/with/space";
  }
  return check;
}

Check check_shared_memory(const Folder& folder) {
  constexpr double wanted = 256 * MiB;
  Check check{"/dev/shm", Verdict::ok, "", ""};
  check.found = fmt::format("{} of {} free", bytes_text(static_cast<double>(folder.free)),
                            bytes_text(static_cast<double>(folder.size)));
  if (!folder.exists || !folder.refusal.empty()) {
    check.verdict = Verdict::warning;
    check.found = !folder.exists ? "is not there: ranks of a host talk through slower ways"
                                 : fmt::format("cannot be written: {}", folder.refusal);
    check.remedy = "mount -t tmpfs tmpfs /dev/shm, or start the container with one (docker --shm-size=1g)";
  } else if (static_cast<double>(folder.free) < wanted) {
    check.verdict = Verdict::warning;
    check.found += ": Open MPI's and NCCL's ranks of a host talk through it, and want 256 MiB";
    check.remedy = "docker run --shm-size=1g; Kubernetes: an emptyDir with medium: Memory at /dev/shm";
  }
  return check;
}

Check check_open_files(uint64_t limit) {
  constexpr uint64_t wanted = 1024;
  const bool endless = limit > 1'000'000'000;
  Check check{"open files", Verdict::ok, endless ? "no limit" : fmt::format("{} a process", limit), ""};
  if (limit < wanted) {
    check.verdict = Verdict::warning;
    check.found += ": a coordinator wants 1024, for its store and a connection to each gang";
    check.remedy = "ulimit -n 65536 before it is started (docker --ulimit nofile=65536)";
  }
  return check;
}

}  // namespace hivq::doctor
