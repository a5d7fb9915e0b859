#pragma once

// Gangs as Slurm's batch jobs, asked for by sbatch, watched by one squeue for all, ended by scancel.

#include <atomic>
#include <memory>
#include <string>

#include "cluster/engine.h"

namespace hivq {

/// `owner`: of owner_of().
std::unique_ptr<Engine> make_slurm(const Pool& pool, const SlurmPool& slurm, const LauncherOptions& options,
                                   const std::string& owner, std::shared_ptr<std::atomic<bool>> ending);

/// What sbatch is given to run. In an `array`, each job starts the gang of `first`'s launch plus its own index.
std::string slurm_script(const Pool& pool, const SlurmPool& slurm, const LauncherOptions& options,
                         const LaunchRequest& first, bool array);

}  // namespace hivq
