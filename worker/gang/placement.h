#pragma once

// Which cores a rank computes on, and with how many threads.
//
// A rank takes its share of the host's physical cores: a second thread on a core adds nothing to a multiplication of
// matrices. Where mpirun has not bound the ranks, each binds itself to cores that no other rank of the host computes
// on, of this gang or of another, and keeps to them: its memory stays on their node, and two ranks never share a core
// while another is free.

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/gang/world.h"

namespace hivq {

/// The physical cores that have these logical CPUs, each as its CPUs; those of one package side by side, in the order of
/// the CPUs' numbers. Where the host does not tell, every CPU is a core of its own.
std::vector<std::vector<int>> physical_cores(const std::vector<int>& cpus,
                                             const std::filesystem::path& sysfs = "/sys/devices/system/cpu");

/// Cores that this process has for itself among all that claim theirs in the same folder. Given back at its end, or the
/// process's, however that comes about.
class CoreClaim {
 public:
  /// `count` free ones of the cores, the first as near as can be to number `near`; nothing where there are not as many,
  /// or where the folder cannot be used.
  static std::optional<CoreClaim> take(const std::vector<std::vector<int>>& cores, size_t count, size_t near,
                                       const std::filesystem::path& folder);
  CoreClaim(CoreClaim&& other) noexcept { *this = std::move(other); }
  CoreClaim& operator=(CoreClaim&& other) noexcept {
    std::swap(cpus_, other.cpus_);
    std::swap(locks_, other.locks_);
    return *this;
  }
  ~CoreClaim();

  const std::vector<int>& cpus() const { return cpus_; }

 private:
  CoreClaim() = default;
  std::vector<int> cpus_;
  std::vector<int> locks_;  // file descriptors
};

/// Where ranks of the same user on the same host find each other's claims.
std::filesystem::path claims_folder();

/// How a rank was placed; to be kept while it computes.
struct RankPlacement {
  int threads = 1;
  std::optional<CoreClaim> claim;  // what it is bound to
  std::string text;                // for the log: "2 threads on CPUs 4, 5"
};

struct PlacementOptions {
  int threads = 0;     // of a rank; 0: its share of the host's cores, or as many of it as are free, and one at least
  int host_gangs = 1;  // gangs that share the host
  bool bind = true;    // to cores that are free, unless mpirun has bound it or there are not enough
};

/// Places the calling process, before it starts the threads that compute. More threads than cores would be worse than
/// slow: threads that wait for each other at the end of every operation wait for those that another gang's threads keep
/// from running.
RankPlacement place_rank(const World& world, const PlacementOptions& options);

/// The threads of a rank that is not told how many: `share`, or fewer where fewer cores are free, with its claim on these;
/// one without a claim where none is. Where claims cannot be made, `share`.
RankPlacement place_on_free_cores(const std::vector<std::vector<int>>& cores, int share, size_t near,
                                  const std::filesystem::path& folder);

}  // namespace hivq
