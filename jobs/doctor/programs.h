#pragma once

// The programs that hivq needs beside itself, and what mpirun and the ranks that it starts say. Pure.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "jobs/doctor/check.h"
#include "jobs/doctor/probe.h"

namespace hivq::doctor {

struct Program {
  std::string name, folder;
  Ran version;  // of `NAME --version`
};
/// `hivq-worker 0.1.0` → `0.1.0`; empty for another text.
std::string version_in(const std::string& output);
Check check_programs(const std::string& own_version, const std::vector<Program>& programs);

struct Mpirun {
  Ran version;                              // of `mpirun --version`
  bool root = false, root_allowed = false;  // who asks, and whether the environment lets root use Open MPI
};
Check check_mpirun(const Mpirun& mpirun);

/// The reports of `hivq-worker check --json` in the output of mpirun, which may say more.
std::vector<nlohmann::json> reports_in(const std::string& output);
/// Whether `ranks` ranks saw each other. `command`: what was run, for the remedy.
Check check_ranks(const Ran& ran, int ranks, const std::string& command, int seconds);

struct SeenGpu {
  std::string name, driver;
  double memory = 0;  // bytes
};
/// Of `nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits`; empty where it failed.
std::vector<SeenGpu> gpus_in(const Ran& nvidia_smi);
/// `report`: of the ranks; nothing where they did not start.
Check check_gpus(const std::vector<SeenGpu>& seen, const std::optional<nlohmann::json>& report);
Check check_weights(const nlohmann::json& report);

}  // namespace hivq::doctor
