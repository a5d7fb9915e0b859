// One launcher for the pools of all engines.

#include "cluster/launcher.h"

#include "cluster/engine.h"
#include "cluster/hostfile.h"
#include "cluster/kubernetes.h"
#include "cluster/slurm.h"

namespace hivq {

namespace {

class PoolsLauncher final : public Launcher {
 public:
  void add(const std::string& pool, std::unique_ptr<Launcher> launcher) { pools_[pool] = std::move(launcher); }

  void launch(const LaunchRequest& request) override {
    Launcher* pool = pool_of(request.launch, request.pool);
    if (pool != nullptr) pool->launch(request);
  }
  void adopt(const Launched& launched) override {
    Launcher* pool = pool_of(launched.launch, launched.pool);
    if (pool != nullptr) pool->adopt(launched);
  }
  void stop(const std::string& launch) override {
    const auto found = launches_.find(launch);
    if (found != launches_.end()) found->second->stop(launch);
  }
  std::vector<LaunchEvent> poll() override {
    std::vector<LaunchEvent> events = std::exchange(events_, {});
    for (const auto& [name, pool] : pools_) {
      for (LaunchEvent& event : pool->poll()) events.push_back(std::move(event));
    }
    for (const LaunchEvent& event : events) {
      if (const auto* exit = std::get_if<LaunchExit>(&event)) launches_.erase(exit->launch);
    }
    return events;
  }
  void close() override {
    for (const auto& [name, pool] : pools_) pool->close();
  }

 private:
  Launcher* pool_of(const std::string& launch, const std::string& name) {
    const auto found = pools_.find(name);
    if (found == pools_.end()) {
      events_.push_back(LaunchExit{launch, fmt::format("there is no pool {} any more", name), true});
      return nullptr;
    }
    return launches_[launch] = found->second.get();
  }

  std::map<std::string, std::unique_ptr<Launcher>> pools_;
  std::map<std::string, Launcher*> launches_;  // that have not ended
  std::vector<LaunchEvent> events_;
};

Result<std::unique_ptr<Launcher>> make_engine(const PoolSpec& spec, const LauncherOptions& options, const Log& log) {
  const auto owner = owner_of(options.data);
  if (!owner) return owner.error();
  const auto ending = std::make_shared<std::atomic<bool>>(false);
  if (const auto* slurm = std::get_if<SlurmPool>(&spec.engine)) {
    return make_engine_launcher(make_slurm(spec.pool, *slurm, options, *owner, ending), spec.pool, {slurm->poll}, log,
                                ending);
  }
  const auto& kubernetes = std::get<KubernetesPool>(spec.engine);
  auto engine = make_kubernetes(spec.pool, kubernetes, options, *owner, log);
  if (!engine) return engine.error();
  return make_engine_launcher(std::move(*engine), spec.pool, {kubernetes.poll}, log, ending);
}

}  // namespace

Result<std::unique_ptr<Launcher>> make_launcher(const std::vector<PoolSpec>& pools, const LauncherOptions& options,
                                                const Log& log) {
  auto all = std::make_unique<PoolsLauncher>();
  uint64_t host_gangs = 0;
  for (const PoolSpec& spec : pools) {
    if (std::holds_alternative<MpirunPool>(spec.engine)) host_gangs += spec.pool.maximum;
  }
  for (const PoolSpec& spec : pools) {
    if (const auto* given = std::get_if<MpirunPool>(&spec.engine)) {
      MpirunPool mpirun = *given;
      mpirun.host_gangs = std::max<uint64_t>(1, host_gangs);
      all->add(spec.pool.name, make_mpirun_launcher(spec.pool, mpirun, options));
    } else if (const auto* hostfile = std::get_if<HostfilePool>(&spec.engine)) {
      all->add(spec.pool.name, make_hostfile_launcher(spec.pool, *hostfile, options));
    } else {
      auto launcher = make_engine(spec, options, log);
      if (!launcher) return launcher.error();
      all->add(spec.pool.name, std::move(*launcher));
    }
  }
  return std::unique_ptr<Launcher>(std::move(all));
}

}  // namespace hivq
