// Gangs on this machine.

#include "cluster/gang_command.h"
#include "cluster/process_launcher.h"

namespace hivq {

namespace {

class MpirunLauncher final : public ProcessLauncher {
 public:
  MpirunLauncher(Pool pool, MpirunPool mpirun, LauncherOptions options)
      : ProcessLauncher(options.data),
        pool_(std::move(pool)),
        mpirun_(std::move(mpirun)),
        options_(std::move(options)) {}

 private:
  Result<SpawnOptions> command(const LaunchRequest& request) override {
    SpawnOptions options;
    // --oversubscribe and --bind-to none: ranks share the cores that are there; a rank's threads are chosen by the
    // worker.
    options.command = {"mpirun", "-np", std::to_string(request.ranks), "--oversubscribe", "--bind-to", "none"};
    options.command.insert(options.command.end(), mpirun_.mpirun.begin(), mpirun_.mpirun.end());
    const std::string cache = mpirun_.cache.empty() ? options_.data + "/features" : mpirun_.cache;
    auto worker = worker_command(options_.worker, options_.local, pool_, request.launch, cache, options_.roots);
    options.command.insert(options.command.end(), worker.begin(), worker.end());
    options.command.insert(options.command.end(), {"--host-gangs", std::to_string(mpirun_.host_gangs)});
    options.environment = options_.environment;
    return options;
  }

  std::string remedy() const override { return "a local gang needs Open MPI (package openmpi-bin)"; }

  Pool pool_;
  MpirunPool mpirun_;
  LauncherOptions options_;
};

}  // namespace

std::unique_ptr<Launcher> make_mpirun_launcher(const Pool& pool, const MpirunPool& mpirun,
                                               const LauncherOptions& options) {
  return std::make_unique<MpirunLauncher>(pool, mpirun, options);
}

}  // namespace hivq
