#include "jobs/doctor/programs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <sstream>

#include "jobs/views/format.h"

namespace hivq::doctor {

namespace {

using nlohmann::json;

constexpr const char* root_variables = "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1";

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// The last line that says something: mpirun frames its own words with dashes.
std::string last_words(const std::string& text) {
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r-") != std::string::npos) last = line.substr(line.find_first_not_of(" \t"));
  }
  return last;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : ", ") + words[i];
  return text;
}

/// Equal texts once, with how many there are: `2 × NVIDIA H100`.
std::string counted(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const std::string& name : std::set<std::string>(names.begin(), names.end())) {
    const auto count = std::count(names.begin(), names.end(), name);
    parts.push_back(count == 1 ? name : fmt::format("{} × {}", count, name));
  }
  return joined(parts);
}

std::string text_in(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

// ---- Programs ----

std::string version_in(const std::string& output) {
  const std::string line = first_line(output);
  const size_t space = line.find(' ');
  if (!line.starts_with("hivq") || space == std::string::npos) return "";
  return line.substr(space + 1);
}

Check check_programs(const std::string& own_version, const std::vector<Program>& programs) {
  Check check{"programs", Verdict::ok, "", ""};
  std::vector<std::string> good, bad;
  for (const Program& program : programs) {
    const std::string version = version_in(program.version.output);
    if (!program.version.started) {
      bad.push_back(fmt::format("{} is not in {}", program.name, program.folder));
    } else if (!program.version.in_time) {
      bad.push_back(fmt::format("{} does not tell its version in time", program.name));
    } else if (program.version.code != 0 || version.empty()) {
      bad.push_back(fmt::format("{} does not run: {}", program.name, last_words(program.version.output)));
    } else if (version != own_version) {
      bad.push_back(fmt::format("{} is version {}, but hivq is {}", program.name, version, own_version));
    } else {
      good.push_back(program.name);
    }
  }
  check.found = fmt::format("{} {} beside hivq", joined(good), own_version);
  if (bad.empty()) return check;
  check.verdict = Verdict::problem;
  check.found = joined(bad);
  check.remedy = "make, and start the programs of one build";
  return check;
}

// ---- mpirun ----

Check check_mpirun(const Mpirun& mpirun) {
  Check check{"mpirun", Verdict::ok, first_line(mpirun.version.output), ""};
  if (!mpirun.version.started || mpirun.version.code != 0) {
    check.verdict = Verdict::problem;
    check.found = !mpirun.version.started ? "is not installed, or not in PATH"
                                          : "does not run: " + last_words(mpirun.version.output);
    check.remedy = "apt-get install openmpi-bin";
    return check;
  }
  if (check.found.find("Open MPI") == std::string::npos) {
    check.verdict = Verdict::warning;
    check.found += ": hivq is built with Open MPI, and the ranks of another mpirun do not find each other";
    check.remedy = "put Open MPI's mpirun first in PATH (apt-get install openmpi-bin)";
  } else if (mpirun.root && !mpirun.root_allowed) {
    check.verdict = Verdict::warning;
    check.found += "; it refuses root, except from hivq run";
    check.remedy = fmt::format("before mpirun by hand: {}", root_variables);
  }
  return check;
}

std::vector<json> reports_in(const std::string& output) {
  std::vector<json> reports;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("{\"version\"")) continue;
    json report = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (report.is_object() && report.contains("ranks") && report["ranks"].is_number_integer() &&
        report.contains("each") && report["each"].is_array()) {
      reports.push_back(std::move(report));
    }
  }
  return reports;
}

Check check_ranks(const Ran& ran, int ranks, const std::string& command, int seconds) {
  Check check{"ranks", Verdict::problem, "", fmt::format("see what it says: {}", command)};
  const std::string& said = ran.output;
  if (!ran.started) {
    check.found = "none: mpirun cannot be started";
    check.remedy = "apt-get install openmpi-bin";
    return check;
  }
  if (!ran.in_time) {
    check.found = fmt::format("{} ranks did not find each other within {} s", ranks, seconds);
    check.remedy =
        "hivq doctor --wait 60 on a slow machine; else mpirun --mca btl self,vader, or self,tcp, tells which way is "
        "blocked";
    return check;
  }
  if (said.find("run as root") != std::string::npos || said.find("running as root") != std::string::npos) {
    check.found = "mpirun refuses to run as root";
    check.remedy = root_variables;
    return check;
  }
  if (said.find("not enough slots") != std::string::npos) {
    check.found = fmt::format("mpirun has no place for {} ranks", ranks);
    check.remedy = "mpirun --oversubscribe, as hivq run does";
    return check;
  }
  const auto reports = reports_in(said);
  if (ran.code != 0 || reports.empty()) {
    check.found = fmt::format("mpirun ended with {}: {}", ran.code, last_words(said));
    return check;
  }
  const json& report = reports.front();
  if (reports.size() > 1 || report["ranks"] != ranks) {
    check.found = fmt::format("each of {} ranks is alone: mpirun is of another MPI than hivq-worker", ranks);
    check.remedy = "put Open MPI's mpirun first in PATH (apt-get install openmpi-bin)";
    return check;
  }
  std::vector<std::string> devices;
  for (const json& rank : report["each"]) {
    const std::string gpu = text_in(rank, "gpu");
    devices.push_back(gpu.empty() ? text_in(rank, "device") : gpu);
  }
  check.verdict = Verdict::ok;
  check.remedy = "";
  check.found = fmt::format("{} see each other and add up, on {}", ranks, counted(devices));
  if (const auto sum = report.find("all_reduce"); sum != report.end() && sum->is_object()) {
    check.found += fmt::format(" ({:.1f} ms for {:.0f} MiB)", 1e3 * sum->value("seconds", 0.0),
                               sum->value("bytes", 0.0) / (1 << 20));
  }
  return check;
}

// ---- GPUs ----

std::vector<SeenGpu> gpus_in(const Ran& nvidia_smi) {
  std::vector<SeenGpu> gpus;
  if (!nvidia_smi.started || !nvidia_smi.in_time || nvidia_smi.code != 0) return gpus;
  std::istringstream lines(nvidia_smi.output);
  for (std::string line; std::getline(lines, line);) {  // NVIDIA H100 80GB HBM3, 81559, 550.54.15
    const size_t last = line.rfind(", "), middle = last == std::string::npos ? last : line.rfind(", ", last - 1);
    if (middle == std::string::npos) continue;
    const std::string memory = line.substr(middle + 2, last - middle - 2);
    double mebibytes = 0;
    std::from_chars(memory.data(), memory.data() + memory.size(), mebibytes);
    gpus.push_back({line.substr(0, middle), line.substr(last + 2), mebibytes * (1 << 20)});
  }
  return gpus;
}

Check check_gpus(const std::vector<SeenGpu>& seen, const std::optional<json>& report) {
  Check check{"GPU", Verdict::ok, "none: trials train on the CPUs", ""};
  std::vector<std::string> names;
  for (const SeenGpu& gpu : seen) names.push_back(fmt::format("{} ({})", gpu.name, bytes_text(gpu.memory)));
  const json cuda = report ? report->value("cuda", json::object()) : json::object();
  const bool built = cuda.is_object() && cuda.value("built", false);
  const int used = cuda.is_object() ? cuda.value("gpus", 0) : 0;
  if (!seen.empty()) check.found = fmt::format("{}, driver {}", counted(names), seen.front().driver);
  if (!report) {
    if (!seen.empty()) check.found += "; whether hivq-worker can use it is not known, since no rank started";
    return check;
  }
  if (!built && !seen.empty()) {
    check.verdict = Verdict::warning;
    check.found += ", but this hivq-worker was built without CUDA";
    check.remedy = "HIVQ_DEVICE=cuda make";
    return check;
  }
  if (built && used == 0 && !seen.empty()) {
    check.verdict = Verdict::problem;
    check.found += fmt::format(", but CUDA uses none: {}", text_in(cuda, "problem"));
    check.remedy = fmt::format(
        "hivq-worker was built with CUDA {}, the driver can do {}: a newer driver, or CUDA_VISIBLE_DEVICES unset",
        text_in(cuda, "runtime"), text_in(cuda, "driver").empty() ? "none" : text_in(cuda, "driver"));
    return check;
  }
  if (used > 0) {
    check.found =
        fmt::format("{}, CUDA {}, NCCL {}", seen.empty() ? count_text(static_cast<uint64_t>(used), "GPU") : check.found,
                    text_in(cuda, "runtime"), text_in(*report, "nccl"));
    const auto one = report->find("each");
    const bool on_cpu = one != report->end() && !one->empty() && text_in((*one)[0], "device") == "cpu";
    if (on_cpu) check.found += fmt::format("; two ranks have no GPU each: hivq run --ranks {} uses it", used);
  }
  return check;
}

Check check_weights(const json& report) {
  Check check{"weights", Verdict::ok, "", ""};
  const std::string folder = text_in(report, "weights_folder");
  std::vector<std::string> names;
  for (const json& name : report.value("weights", json::array())) {
    if (name.is_string()) names.push_back(name.get<std::string>());
  }
  check.found = fmt::format("{} in {}", joined(names), folder);
  if (names.empty()) {
    check.verdict = Verdict::problem;
    check.found = fmt::format("no backbone's weights in {}: nothing can be trained without", folder);
    check.remedy = "make setup puts efficientnet-lite0 there; HIVQ_WEIGHTS names another folder";
  }
  return check;
}

}  // namespace hivq::doctor
