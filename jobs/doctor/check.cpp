#include "jobs/doctor/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "jobs/table.h"
#include "jobs/views/format.h"

namespace hivq::doctor {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warning:
      return "warning";
    case Verdict::problem:
      return "problem";
  }
  return "";
}

std::string to_text(const Check& check, bool colour) {
  const char* sign = check.verdict == Verdict::ok ? "✓" : check.verdict == Verdict::warning ? "!" : "✗";
  const Tint tint = check.verdict == Verdict::ok        ? Tint::good
                    : check.verdict == Verdict::warning ? Tint::accent
                                                        : Tint::bad;
  const std::string verdict = fmt::format("{} {:8}", sign, to_string(check.verdict));
  std::string text = fmt::format("{} {:12} {}\n", tinted(verdict, tint, colour), check.name, printable(check.found));
  if (!check.remedy.empty()) text += fmt::format("{:23} → {}\n", "", printable(check.remedy));
  return text;
}

static size_t count(const std::vector<Check>& checks, Verdict verdict) {
  return static_cast<size_t>(
      std::count_if(checks.begin(), checks.end(), [&](const Check& check) { return check.verdict == verdict; }));
}

std::string summary(const std::vector<Check>& checks) {
  const size_t problems = count(checks, Verdict::problem), warnings = count(checks, Verdict::warning);
  std::string text = problems == 0 ? "no problem" : count_text(problems, "problem");
  if (warnings > 0) text += ", " + count_text(warnings, "warning");
  return text;
}

bool any_problem(const std::vector<Check>& checks) { return count(checks, Verdict::problem) > 0; }

nlohmann::ordered_json to_json(const std::vector<Check>& checks) {
  auto list = nlohmann::ordered_json::array();
  for (const Check& check : checks) {
    list.push_back({{"name", check.name},
                    {"verdict", to_string(check.verdict)},
                    {"found", check.found},
                    {"remedy", check.remedy}});
  }
  return {{"ok", !any_problem(checks)}, {"checks", list}};
}

std::string bytes_text(double bytes) {
  constexpr double kMiB = 1 << 20, kGiB = 1 << 30;
  return bytes < kGiB ? fmt::format("{:.0f} MiB", bytes / kMiB) : fmt::format("{:.1f} GiB", bytes / kGiB);
}

}  // namespace hivq::doctor
