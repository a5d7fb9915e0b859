#pragma once

// Pools of gangs that the coordinator grows and shrinks: what pools.yaml says (README.md here).

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "jobs/spec.h"
#include "jobs/yaml_tree.h"

namespace hivq {

/// What the coordinator's core knows of a pool.
struct Pool {
  std::string name = "local";
  uint64_t ranks = 0;          // of its gangs; 0: as many as a trial asks for …
  uint64_t default_ranks = 1;  // … or so many where it does not say
  uint64_t minimum = 0;        // gangs that are always there
  uint64_t maximum = 1;
  Millis idle = 0;          // a gang beyond the minimum that had nothing to do for so long ends; 0: none does
  Labels labels;            // that its gangs carry beside pool=NAME
  Millis start_within = 0;  // from its start, not counting the engine's queue, to a gang's Hello; 0: the usual time
  bool stays = false;       // its gangs outlive a coordinator that ends
  bool returns = false;     // its engine may start a gang that was lost again
};

inline constexpr const char* pool_label = "pool";
/// All labels of the pool's gangs.
inline Labels gang_labels(const Pool& pool) {
  Labels labels = pool.labels;
  labels[pool_label] = pool.name;
  return labels;
}

/// mpirun on this machine.
struct MpirunPool {
  std::vector<std::string> mpirun;  // more arguments for it
  std::string cache;                // folder of the feature cache; empty: data/features
  uint64_t host_gangs = 1;          // of all such pools together: each takes its part of the machine's cores
};

/// A machine, and how many ranks it takes.
struct HostSlots {
  std::string host;
  uint64_t slots = 1;
  bool operator==(const HostSlots&) const = default;
};

/// mpirun on several machines, over ssh.
struct HostfilePool {
  std::string hosts_file;  // read at each launch; empty: `hosts`
  std::vector<HostSlots> hosts;
  std::vector<std::string> mpirun;
  std::string worker, cache;  // paths on those machines
};

struct SlurmPool {
  enum class Start { automatic, srun, mpirun };
  std::string partition, account, qos, time;
  uint64_t nodes = 0;               // of a gang; 0: Slurm's choice
  std::vector<std::string> sbatch;  // more arguments for it
  std::vector<std::string> mpirun;  // more arguments for srun or mpirun
  std::string worker, cache;        // paths on the nodes
  bool requeue = false;             // Slurm starts a gang again that was preempted, or whose node failed
  Start start = Start::automatic;
  std::string export_variables = "ALL";  // sbatch --export
  Millis poll = 2000;
};

struct KubernetesPool {
  enum class Operator { automatic, mpijob, job };
  std::string api;  // https://HOST:PORT; empty: the cluster that the coordinator runs in
  std::string token_file, ca_file;
  std::string kube_namespace;  // empty: the coordinator's own, or `default`
  std::string image;
  std::string pull_policy = "IfNotPresent";
  uint64_t ranks_per_pod = 1;
  YamlNode resources;                                   // of a pod with so many ranks
  YamlNode template_;                                   // merged into the pods
  std::string key_secret_name, key_secret_key = "key";  // the gangs' secret key
  Operator engine = Operator::automatic;
  std::string worker = "hivq-worker", cache = "/cache";
  std::string ssh_folder = "/home/hivq/.ssh";  // where the operator puts the gang's ssh key
  std::vector<std::string> sshd;               // command of the worker pods; empty: the image's own
  std::string service, ssh_secret;  // without the operator: names and the ssh key of a gang's pods; empty: one pod
  std::vector<std::string> mpirun;
  Millis poll = 2000;
};

struct PoolSpec {
  Pool pool;
  std::variant<MpirunPool, HostfilePool, SlurmPool, KubernetesPool> engine;
};

/// Errors: one line for each mistake: `pools.yaml:7: pools.lab.ranks is 0; …`.
Result<std::vector<PoolSpec>> parse_pools(const std::string& text, const std::string& file);
Result<std::vector<PoolSpec>> read_pools(const std::string& path);

/// `localhost slots=4`, one a line; `#` begins a comment. Errors: `FILE:LINE: …`.
Result<std::vector<HostSlots>> parse_hosts(const std::string& text, const std::string& file);

/// The handle of a process: `pid:1234:5678`.
inline std::string process_handle(int64_t pid, uint64_t start_time) {
  return fmt::format("pid:{}:{}", pid, start_time);
}

}  // namespace hivq
