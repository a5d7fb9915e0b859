#include "worker/gang/placement.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

namespace hivq {
namespace {

/// A number that the kernel tells of a CPU; `otherwise` where it does not.
int topology(const std::filesystem::path& sysfs, int cpu, const char* what, int otherwise) {
  std::ifstream file(sysfs / fmt::format("cpu{}", cpu) / "topology" / what);
  int number = 0;
  return file >> number ? number : otherwise;
}

/// The lock of a core, or -1: another has it.
int lock_of(const std::filesystem::path& folder, const std::vector<int>& core) {
  const std::string path = (folder / fmt::format("core-{}", core.front())).string();
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0 || flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  close(file);
  return -1;
}

bool bind_to(const std::vector<int>& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &mask);
  return sched_setaffinity(0, sizeof mask, &mask) == 0;
}

}  // namespace

std::vector<std::vector<int>> physical_cores(const std::vector<int>& cpus, const std::filesystem::path& sysfs) {
  std::map<std::pair<int, int>, std::vector<int>> by_core;  // by package and first CPU of the core
  std::map<std::pair<int, int>, int> first;                 // CPU of a core, by package and core
  for (const int cpu : cpus) {
    const int package = topology(sysfs, cpu, "physical_package_id", 0);
    const int core = topology(sysfs, cpu, "core_id", -1 - cpu);
    const int begin = first.try_emplace({package, core}, cpu).first->second;
    by_core[{package, begin}].push_back(cpu);
  }
  std::vector<std::vector<int>> cores;
  for (auto& [key, own] : by_core) cores.push_back(std::move(own));
  return cores;
}

std::optional<CoreClaim> CoreClaim::take(const std::vector<std::vector<int>>& cores, size_t count, size_t near,
                                         const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed || count == 0 || count > cores.size()) return std::nullopt;
  CoreClaim claim;
  for (size_t i = 0; i < cores.size() && claim.locks_.size() < count; ++i) {
    const std::vector<int>& core = cores[(near + i) % cores.size()];
    const int lock = lock_of(folder, core);
    if (lock < 0) continue;
    claim.locks_.push_back(lock);
    claim.cpus_.insert(claim.cpus_.end(), core.begin(), core.end());
  }
  if (claim.locks_.size() < count) return std::nullopt;
  std::ranges::sort(claim.cpus_);
  return claim;
}

CoreClaim::~CoreClaim() {
  for (const int lock : locks_) close(lock);
}

std::filesystem::path claims_folder() { return fmt::format("/tmp/hivq-cores-{}", geteuid()); }

RankPlacement place_on_free_cores(const std::vector<std::vector<int>>& cores, int share, size_t near,
                                  const std::filesystem::path& folder) {
  RankPlacement placement;
  placement.threads = share;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return placement;  // nobody can tell who has which
  for (; placement.threads > 0; --placement.threads) {
    placement.claim = CoreClaim::take(cores, static_cast<size_t>(placement.threads), near, folder);
    if (placement.claim) return placement;
  }
  placement.threads = 1;
  return placement;
}

RankPlacement place_rank(const World& world, const PlacementOptions& options) {
  const std::vector<std::vector<int>> cores = physical_cores(world.local_cpus());
  const int share = std::max(1, static_cast<int>(cores.size()) / (world.local_size() * options.host_gangs));
  const int wanted = options.threads > 0 ? options.threads : share;
  const size_t near = static_cast<size_t>(wanted * world.local_rank()) % cores.size();
  RankPlacement placement;
  placement.threads = wanted;
  if (options.bind && !world.bound()) {
    if (options.threads > 0) {
      placement.claim = CoreClaim::take(cores, static_cast<size_t>(wanted), near, claims_folder());
    } else {
      placement = place_on_free_cores(cores, share, near, claims_folder());
    }
    if (placement.claim && !bind_to(placement.claim->cpus())) placement.claim.reset();
  }
  placement.text = fmt::format("{} thread{}", placement.threads, placement.threads == 1 ? "" : "s");
  if (world.bound()) {
    placement.text += ", bound by mpirun (--bind-to none lets the ranks have all of the host)";
  } else if (placement.claim) {
    placement.text += fmt::format(" on CPU {}", fmt::join(placement.claim->cpus(), ", "));
  }
  if (options.bind && placement.threads < wanted) {
    placement.text += " (other gangs have the rest of this host's cores: --host-gangs N lets N gangs share them)";
  }
  return placement;
}

}  // namespace hivq
