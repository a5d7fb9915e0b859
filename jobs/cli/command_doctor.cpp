// doctor: looks at what hivq needs, from the programs to the coordinator, and says what is wrong and what to do.

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "common/allow_list.h"
#include "common/version.h"
#include "jobs/cli/commands.h"
#include "jobs/cli/interrupt.h"
#include "jobs/cli/terminal.h"
#include "jobs/doctor/coordinator.h"
#include "jobs/doctor/machine.h"
#include "jobs/doctor/programs.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using doctor::Check;

constexpr int ranks = 2;  // that are started
constexpr auto coordinator_wait = 3s;
constexpr const char* default_endpoint = "tcp://127.0.0.1:4487";
constexpr const char* default_http = "http://127.0.0.1:4488";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Keeps what was found, and shows it at once where it is not JSON that is wanted.
class Report {
 public:
  explicit Report(bool json) : json_(json), style_(terminal_of(1).style()) {}
  void add(Check check) {
    if (interrupted() != 0) return;
    if (!json_) (void)print(to_text(check, style_));
    checks_.push_back(std::move(check));
  }
  Result<int> end() const {
    const int code = any_problem(checks_) ? exit_code::failed : exit_code::finished;
    const std::string text = json_ ? text_of(to_json(checks_)) : fmt::format("\n{}\n", summary(checks_));
    if (auto done = print(text); !done) return done.error();
    return interrupted() != 0 ? exit_code::interrupt_base + interrupted() : code;
  }

 private:
  bool json_;
  TableStyle style_;
  std::vector<Check> checks_;
};

int usable_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  return sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask)
                                                       : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

void look_at_machine(Report& report, const std::string& data, bool served) {
  report.add(doctor::check_cores({usable_cpus(), doctor::read_cpu_quota("/")}));
  report.add(doctor::check_memory(doctor::read_memory("/")));
  report.add(doctor::check_data({doctor::read_folder(data), doctor::lock_holder(data), served,
                                 !served && read_coordinator_file(data).has_value()}));
  const std::string temporary = variable("TMPDIR").empty() ? "/tmp" : variable("TMPDIR");
  report.add(doctor::check_temporary(doctor::read_folder(temporary)));
  report.add(doctor::check_shared_memory(doctor::read_folder("/dev/shm")));
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  report.add(doctor::check_open_files(files.rlim_cur));
}

void look_at_programs(Report& report, std::chrono::seconds wait) {
  const std::string folder = program_folder();
  std::vector<doctor::Program> programs;
  for (const char* name : {"hivq-coordinator", "hivq-worker"}) {
    programs.push_back({name, folder, doctor::run_for({folder + "/" + name, "--version"}, wait)});
  }
  report.add(doctor::check_programs(version, programs));

  const bool root = geteuid() == 0;
  const bool allowed =
      !variable("OMPI_ALLOW_RUN_AS_ROOT").empty() && !variable("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM").empty();
  std::map<std::string, std::string> environment;
  if (root) environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  const doctor::Ran mpirun = doctor::run_for({"mpirun", "--version"}, wait, environment);
  report.add(doctor::check_mpirun({mpirun, root, allowed}));

  // As the coordinator starts its gangs.
  const std::vector<std::string> command = {"mpirun",    "-np",  std::to_string(ranks),   "--oversubscribe",
                                            "--bind-to", "none", folder + "/hivq-worker", "check"};
  std::vector<std::string> in_json = command;
  in_json.insert(in_json.end(), {"--json", "--timeout", std::to_string(wait.count())});
  const doctor::Ran ran = doctor::run_for(in_json, wait, environment);
  std::string shown;
  for (const std::string& word : command) shown += shell_word(word) + ' ';
  shown.pop_back();
  report.add(doctor::check_ranks(ran, ranks, shown, static_cast<int>(wait.count())));

  std::optional<nlohmann::json> told;
  if (const auto reports = doctor::reports_in(ran.output); !reports.empty()) told = reports.front();
  const auto seen = doctor::gpus_in(doctor::run_for(
      {"nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"}, wait));
  report.add(doctor::check_gpus(seen, told));
  if (told) report.add(doctor::check_weights(*told));
}

bool is_healthy(const std::string& address) {
  const auto answer = doctor::http_get(address + "/healthz", 2s);
  return answer && answer->status == 200 && answer->body.starts_with("ok");
}

/// The default ports, where no coordinator is named: whether one could start, or runs there.
void look_at_ports(Report& report) {
  using doctor::Holder;
  Holder holder = Holder::nobody;
  if (!doctor::port_is_free(4487)) {
    holder =
        doctor::ask_coordinator(default_endpoint, coordinator_wait) ? Holder::coordinator : Holder::other;
  }
  report.add(doctor::check_port({4487, "--listen", "tcp://127.0.0.1:0", holder}));
  holder = Holder::nobody;
  if (!doctor::port_is_free(4488)) holder = is_healthy(default_http) ? Holder::coordinator : Holder::other;
  report.add(doctor::check_port({4488, "--http", "http://127.0.0.1:0", holder}));
}

void look_at_coordinator(Report& report, const Where& where, const std::optional<CoordinatorFile>& live) {
  const bool named = !where.coordinator.empty();
  doctor::Coordinator coordinator{named  ? where.coordinator
                                  : live ? live->endpoint
                                         : default_endpoint,
                                  named || live.has_value(), std::nullopt};
  if (coordinator.named || !doctor::port_is_free(4487)) {
    auto credentials = find_credentials(where.keys, coordinator.endpoint, !named && live ? live->keys : "");
    if (!credentials) {
      return report.add({"key", doctor::Verdict::problem, credentials.error().message, "hivq keys --help tells how"});
    }
    coordinator.answer = doctor::ask_coordinator(coordinator.endpoint, coordinator_wait, *credentials);
  }
  report.add(doctor::check_coordinator(coordinator, version));
  if (!coordinator.answer) return;
  if (auto clock = check_clock(*coordinator.answer)) report.add(std::move(*clock));
  if (live && live->endpoint == coordinator.endpoint && !live->http.empty()) {
    report.add(doctor::check_dashboard(live->http, is_healthy(live->http)));
  }
}

}  // namespace

Result<int> doctor_command(const Common& common, int64_t wait_seconds) {
  note_interrupts();
  Report report(common.json);
  const auto live = live_coordinator(common.where.data);
  look_at_programs(report, std::chrono::seconds(wait_seconds));
  look_at_machine(report, common.where.data, live.has_value());
  if (common.where.coordinator.empty()) look_at_ports(report);
  look_at_coordinator(report, common.where, live);
  return report.end();
}

}  // namespace hivq::cli
