#pragma once

// Gangs as MPIJobs of Kubeflow's MPI operator (kubeflow.org/v2beta1), or, in a cluster without it, as indexed Jobs
// whose first pod's mpirun starts the ranks of all. The only door to Kubernetes' API server.

#include <memory>
#include <string>

#include "cluster/engine.h"

namespace hivq {

/// Errors: it is not said where the API server is, and the program runs in no pod.
Result<std::unique_ptr<Engine>> make_kubernetes(const Pool& pool, const KubernetesPool& kubernetes,
                                                const LauncherOptions& options, const std::string& owner,
                                                const Log& log);

}  // namespace hivq
