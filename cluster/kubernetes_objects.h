#pragma once

// What the API server is asked to make for a gang.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cluster/launcher.h"

namespace hivq {

/// What a gang's objects need to know beside their pool.
struct GangObject {
  std::string name, kube_namespace, owner;  // of owner_of()
  std::string endpoint;                     // of the coordinator
  std::string coordinator_key;              // public; empty: none
  nlohmann::json owner_reference;           // null: none
  Roots roots = {};                         // folders in which trials may read
  bool log_json = false;
};

/// kubeflow.org/v2beta1, one launcher and ceil(ranks / ranks_per_pod) workers.
nlohmann::json mpi_job(const Pool& pool, const KubernetesPool& kubernetes, const GangObject& object,
                       const LaunchRequest& request);
/// batch/v1, indexed, ceil(ranks / ranks_per_pod) pods, of which the first starts the ranks of all; where the pool has
/// no ssh_secret, one pod with all ranks.
nlohmann::json gang_job(const Pool& pool, const KubernetesPool& kubernetes, const GangObject& object,
                        const LaunchRequest& request);
/// Of a gang's pods the one with mpirun.
bool starts_the_ranks(const nlohmann::json& pod);

nlohmann::json to_json(const YamlNode& node);
/// `patch` into `base`: sections are merged, null takes away, a list of named things is merged by their names, any
/// other value replaces.
void merge_into(nlohmann::json& base, const nlohmann::json& patch);
/// A quantity (`500m`, `2Gi`, 1) so many times.
nlohmann::json times(const nlohmann::json& quantity, uint64_t factor);

/// What is wrong with a pod, for people; nothing where nothing is.
struct PodTrouble {
  bool unschedulable = false;  // no node has room for it
  bool disrupted = false;      // evicted, preempted, or its node was lost
  std::string text;
};
std::optional<PodTrouble> trouble_of(const nlohmann::json& pod);

inline constexpr const char* launch_label = "hivq.io/launch";

}  // namespace hivq
