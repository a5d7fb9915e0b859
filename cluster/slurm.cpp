#include "cluster/slurm.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cluster/command.h"
#include "cluster/gang_command.h"
#include "jobs/views/format.h"

namespace hivq {

namespace {

using Phase = EngineState::Phase;
constexpr auto ask_limit = std::chrono::seconds(30);     // of squeue and scancel
constexpr auto submit_limit = std::chrono::seconds(60);  // of sbatch
constexpr uint64_t most_indices = 1000;                  // of an array; Slurm's MaxArraySize is 1001 as it comes

/// What Slurm's commands say, on one line: `sbatch: error: invalid partition` becomes `invalid partition`.
std::string complaint(const std::string& text) {
  std::istringstream lines(text);
  std::string said;
  for (std::string line; std::getline(lines, line);) {
    for (const char* prefix : {"sbatch: ", "squeue: ", "scancel: ", "scontrol: ", "slurm_load_jobs ", "error: "}) {
      if (line.starts_with(prefix)) line.erase(0, std::strlen(prefix));
    }
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    said += fmt::format("{}{}", said.empty() ? "" : "; ", line);
  }
  return said.empty() ? "it says nothing" : said.substr(0, 500);
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == text.npos;
}

/// Of a gang in the array whose first one is `first`: how much higher its launch is.
uint64_t index_of(const LaunchRequest& first, const LaunchRequest& request) {
  return std::stoull(request.launch) - std::stoull(first.launch);
}

/// The word behind `NAME=` in what scontrol says of a job.
std::string field_of(const std::string& text, const std::string& name) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word.starts_with(name) && word.size() > name.size() && word[name.size()] == '=')
      return word.substr(name.size() + 1);
  }
  return "";
}

Phase phase_of(const std::string& state) {
  const auto is = [&](std::initializer_list<const char*> states) {
    return std::any_of(states.begin(), states.end(), [&](const char* one) { return state == one; });
  };
  if (is({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED",
          "STOPPED"})) {
    return Phase::queued;
  }
  if (is({"CONFIGURING"})) return Phase::starting;
  const bool ended = is({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL",
                         "PREEMPTED", "OUT_OF_MEMORY", "REVOKED"});
  return ended ? Phase::ended : Phase::running;  // one that is not known to us lives
}

/// How a job with this state ended, as the end of a sentence.
std::string ending_of(const std::string& state, const std::string& exit_code) {
  if (state == "COMPLETED") return "has ended";
  if (state == "CANCELLED") return "was cancelled";
  if (state == "TIMEOUT") return "reached its time limit";
  if (state == "DEADLINE") return "reached its deadline";
  if (state == "NODE_FAIL") return "lost a node (NODE_FAIL)";
  if (state == "BOOT_FAIL") return "had a node that did not start (BOOT_FAIL)";
  if (state == "PREEMPTED") return "was preempted by another job";
  if (state == "OUT_OF_MEMORY") return "ran out of memory (OUT_OF_MEMORY); ask for more with sbatch: [--mem=…]";
  if (state == "FAILED") return fmt::format("failed (exit code {})", exit_code.empty() ? "not known" : exit_code);
  if (state.empty()) return "is not known to Slurm any more";
  return fmt::format("ended as {}", state);
}

class Slurm final : public Engine {
 public:
  Slurm(Pool pool, SlurmPool slurm, LauncherOptions options, const std::string& owner,
        std::shared_ptr<std::atomic<bool>> ending)
      : pool_(std::move(pool)),
        slurm_(std::move(slurm)),
        options_(std::move(options)),
        prefix_(fmt::format("hivq-{}-{}-", owner, pool_.name)),
        ending_(std::move(ending)) {}

  std::vector<Submission> submit(const std::vector<LaunchRequest>& requests) override {
    if (requests.size() > 1) {
      const Submission array = sbatch(requests);
      const auto* refusal = std::get_if<Refusal>(&array);
      if (refusal == nullptr || refusal->sent || refusal->blameless) {
        std::vector<Submission> answers;
        for (const auto& request : requests) {
          answers.push_back(refusal != nullptr ? array
                                               : fmt::format("{}_{}", std::get<std::string>(array),
                                                             index_of(requests.front(), request)));
        }
        return answers;
      }
      // Slurm may allow no arrays here, or fewer jobs than these: what it takes one by one gets in.
    }
    std::vector<Submission> answers;
    for (const auto& request : requests) {
      if (*ending_) break;
      answers.push_back(sbatch({request}));
    }
    return answers;
  }

  bool together(const LaunchRequest& first, const LaunchRequest& next) const override {
    return first.ranks == next.ranks && index_of(first, next) < most_indices;
  }

  Status cancel(const Launched& launched) override {
    std::string id = number_of(launched.handle);
    if (id.empty()) {  // its name may be that of a whole array
      const auto listed = list();
      if (!listed) return listed.error();
      const auto found = listed->find(launched.launch);
      if (found == listed->end()) return {};
      id = number_of(found->second.handle);
    }
    SpawnOptions scancel;
    scancel.command = {"scancel", "--quiet", id};
    const auto said = run_command(std::move(scancel), scratch(), ask_limit, *ending_);
    if (!said) return said.error();
    if (said->code == 0 || said->text.find("Invalid job id") != std::string::npos) return {};
    return error("scancel: {}", complaint(said->text));
  }

  Result<std::map<std::string, EngineState>> list() override {
    SpawnOptions squeue;
    squeue.command = {"squeue", "--me", "--states=all", "--array", "--noheader", "--format=%F|%K|%T|%r|%j"};
    const auto said = run_command(std::move(squeue), scratch(), ask_limit, *ending_);
    if (!said) return error("{}; the gangs go on meanwhile", said.error().message);
    if (said->code != 0) return error("squeue: {}; the gangs go on meanwhile", complaint(said->text));
    std::map<std::string, EngineState> jobs;
    std::istringstream lines(said->text);
    for (std::string line; std::getline(lines, line);) {
      std::vector<std::string> fields;
      std::istringstream words(line);
      for (std::string word; std::getline(words, word, '|');) fields.push_back(word);
      if (fields.size() != 5 || !fields[4].starts_with(prefix_)) continue;
      std::string launch = fields[4].substr(prefix_.size());
      if (!is_number(launch)) continue;  // of a pool whose name begins with this one's
      std::string id = fields[0];
      if (is_number(fields[1])) {
        launch = std::to_string(std::stoull(launch) + std::stoull(fields[1]));
        id += "_" + fields[1];
      }
      const EngineState state = state_of(id, fields[2], fields[3]);
      auto [found, fresh] = jobs.try_emplace(launch, state);
      if (!fresh && found->second.phase == Phase::ended) found->second = state;
    }
    return jobs;
  }

  EngineState how_it_ended(const Launched& launched, const std::optional<EngineState>&) override {
    const std::string id = number_of(launched.handle);
    SpawnOptions scontrol;
    scontrol.command = {"scontrol", "show", "job", "--oneliner", id};
    std::string state, exit_code;
    const auto said = run_command(std::move(scontrol), scratch(), ask_limit, *ending_);
    if (said && said->code == 0) {
      state = field_of(said->text, "JobState");
      exit_code = field_of(said->text, "ExitCode");
    } else {
      SpawnOptions sacct;  // where there is accounting
      sacct.command = {"sacct",
                       "--noheader",
                       "--parsable2",
                       "--allocations",
                       "--format=State,ExitCode",
                       fmt::format("--jobs={}", id)};
      const auto told = run_command(std::move(sacct), scratch(), ask_limit, *ending_);
      if (told && told->code == 0 && told->text.find('|') != std::string::npos) {
        state = told->text.substr(0, told->text.find_first_of(" |"));  // `CANCELLED by 0`
        const size_t bar = told->text.find('|') + 1;
        exit_code = told->text.substr(bar, told->text.find('\n') - bar);
      }
    }
    EngineState end{Phase::ended, launched.handle, fmt::format("Slurm job {} {}", id, ending_of(state, exit_code)),
                    state == "PREEMPTED" || state == "NODE_FAIL" || state == "BOOT_FAIL"};
    if (state != "PREEMPTED" && state != "NODE_FAIL" && state != "BOOT_FAIL" && state != "CANCELLED") {
      const std::string tail = last_lines(gang_log(options_.data, launched.launch), 3);
      if (!tail.empty()) end.text += ": " + tail;
    }
    return end;
  }

 private:
  /// Asks for one job, or for an array of several; its handle.
  Submission sbatch(const std::vector<LaunchRequest>& requests) {
    const LaunchRequest& first = requests.front();
    if (Status made = make_gangs_folder(options_.data); !made) return Refusal{made.error().message};
    const std::string script = fmt::format("{}/gangs/{}.sh", options_.data, first.launch);
    std::ofstream file(script);
    file << slurm_script(pool_, slurm_, options_, first, requests.size() > 1);
    if (!file.flush()) return Refusal{fmt::format("cannot write {}: {}", script, std::strerror(errno))};
    file.close();
    SpawnOptions spawn;
    spawn.command = {"sbatch",
                     "--parsable",
                     fmt::format("--job-name={}{}", prefix_, first.launch),
                     fmt::format("--output={}", gang_log(options_.data, first.launch)),
                     "--open-mode=append",
                     fmt::format("--ntasks={}", first.ranks),
                     slurm_.requeue ? "--requeue" : "--no-requeue",
                     fmt::format("--export={}", exported())};
    if (requests.size() > 1) {
      std::string indices;
      for (const auto& request : requests)
        indices += fmt::format("{}{}", indices.empty() ? "" : ",", index_of(first, request));
      spawn.command.push_back("--array=" + indices);
    }
    const auto add = [&](const std::string& name, const std::string& value) {
      if (!value.empty()) spawn.command.push_back(fmt::format("--{}={}", name, value));
    };
    add("partition", slurm_.partition);
    add("account", slurm_.account);
    add("qos", slurm_.qos);
    add("time", slurm_.time);
    if (slurm_.nodes > 0) add("nodes", std::to_string(slurm_.nodes));
    spawn.command.insert(spawn.command.end(), slurm_.sbatch.begin(), slurm_.sbatch.end());
    spawn.command.push_back(script);
    spawn.environment = options_.environment;
    const auto said = run_command(std::move(spawn), scratch(), submit_limit, *ending_);
    if (!said) {
      const bool started = said.error().message.find("did not answer") != std::string::npos;
      return Refusal{started ? said.error().message : said.error().message + remedy(), started};
    }
    if (said->code != 0) {
      const std::string why = complaint(said->text);
      const bool away = why.find("Unable to contact") != why.npos;
      const bool unsure = why.find("timed out") != why.npos;
      return Refusal{fmt::format("Slurm refuses the gang: {}", why), unsure, away};
    }
    // Warnings may come before it; `;CLUSTER` may follow.
    std::istringstream lines(said->text);
    std::string id;
    for (std::string line; std::getline(lines, line);) {
      const std::string number = line.substr(0, line.find(';'));
      if (is_number(number)) id = number;
    }
    if (id.empty()) return Refusal{fmt::format("sbatch told no number: {}", complaint(said->text)), true};
    return fmt::format("slurm:{}", id);
  }

  std::string scratch() const { return fmt::format("{}/gangs/.{}", options_.data, pool_.name); }

  /// `42`, or `42_3` in an array.
  static std::string number_of(const std::string& handle) {
    const std::string prefix = "slurm:";
    return handle.starts_with(prefix) ? handle.substr(prefix.size()) : "";
  }

  static std::string remedy() {
    return "; a pool of Slurm needs its commands where the coordinator runs (package slurm-client)";
  }

  static EngineState state_of(const std::string& id, const std::string& state, const std::string& reason) {
    EngineState said{phase_of(state), fmt::format("slurm:{}", id), "", false};
    if (said.phase == Phase::queued) {
      said.text =
          fmt::format("Slurm job {} waits in the queue ({}{})", id, state == "PENDING" ? "" : state + ", ", reason);
    }
    if (said.phase == Phase::starting) said.text = fmt::format("Slurm prepares the nodes of job {}", id);
    return said;
  }

  /// The values come from sbatch's own environment.
  std::string exported() const {
    if (slurm_.export_variables.starts_with("ALL")) return slurm_.export_variables;
    std::string names = slurm_.export_variables == "NONE" ? "" : slurm_.export_variables;
    for (const auto& [name, value] : options_.environment) names += fmt::format("{}{}", names.empty() ? "" : ",", name);
    return names.empty() ? "NONE" : names;
  }

  Pool pool_;
  SlurmPool slurm_;
  LauncherOptions options_;
  std::string prefix_;  // of the names of its jobs
  std::shared_ptr<std::atomic<bool>> ending_;
};

}  // namespace

std::string slurm_script(const Pool& pool, const SlurmPool& slurm, const LauncherOptions& options,
                         const LaunchRequest& first, bool array) {
  std::string worker, extra, names;
  for (const auto& word : worker_command(slurm.worker.empty() ? options.worker : slurm.worker, options.advertise, pool,
                                         "", slurm.cache, options.roots)) {
    worker += word.empty() ? " \"$launch\"" : fmt::format(" {}", shell_word(word));
  }
  for (const auto& word : slurm.mpirun) extra += fmt::format(" {}", shell_word(word));
  for (const auto& [name, value] : options.environment) names += fmt::format(" -x {}", name);
  const std::string srun =
      fmt::format("exec srun --mpi=pmix --kill-on-bad-exit=1 --ntasks={}{}{}\n", first.ranks, extra, worker);
  const std::string mpirun =
      fmt::format("exec mpirun -np {} --bind-to none{}{}{}\n", first.ranks, names, extra, worker);
  std::string text = fmt::format("#!/bin/bash\n# Gangs of hivq: pool {}.\n", pool.name);
  text += array ? fmt::format("launch=$(({} + SLURM_ARRAY_TASK_ID))\n", first.launch)
                : fmt::format("launch={}\n", first.launch);
  const bool own_output = std::any_of(slurm.sbatch.begin(), slurm.sbatch.end(), [](const std::string& option) {
    return option.starts_with("--output") || option.starts_with("-o");
  });
  if (array && !own_output)
    text += fmt::format("exec >>{}/gangs/$launch.log 2>&1 || exit 1\n", shell_word(options.data));
  text += "if [ \"$(id -u)\" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi\n";
  if (slurm.start == SlurmPool::Start::srun) return text + srun;
  if (slurm.start == SlurmPool::Start::mpirun) return text + mpirun;
  return fmt::format("{}if srun --mpi=list 2>&1 | grep -qw pmix; then\n  {}fi\n{}", text, srun, mpirun);
}

std::unique_ptr<Engine> make_slurm(const Pool& pool, const SlurmPool& slurm, const LauncherOptions& options,
                                   const std::string& owner, std::shared_ptr<std::atomic<bool>> ending) {
  return std::make_unique<Slurm>(pool, slurm, options, owner, std::move(ending));
}

}  // namespace hivq
