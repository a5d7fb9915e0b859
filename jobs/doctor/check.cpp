#include "jobs/doctor/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

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

namespace {

constexpr size_t indent = 24;  // of what was found, behind verdict and name

/// The text as lines that fit beside the indent, a line each; as one where the width is not known.
std::string broken(const std::string& text, size_t width) {
  if (width < 2 * indent) return text + '\n';
  std::istringstream words(text);
  std::string lines;
  size_t column = 0;
  for (std::string word; words >> word;) {
    const size_t wide = display_width(word);
    if (column > 0 && indent + column + 1 + wide > width) {
      lines += fmt::format("\n{:{}}", "", indent);
      column = 0;
    }
    lines += (column > 0 ? " " : "") + word;
    column += (column > 0 ? 1 : 0) + wide;
  }
  return lines + '\n';
}

}  // namespace

std::string to_text(const Check& check, const TableStyle& style) {
  const char* sign = check.verdict == Verdict::ok ? "✓" : check.verdict == Verdict::warning ? "!" : "✗";
  const Tint tint = check.verdict == Verdict::ok        ? Tint::good
                    : check.verdict == Verdict::warning ? Tint::accent
                                                        : Tint::bad;
  const std::string verdict = fmt::format("{} {:8}", sign, to_string(check.verdict));
  std::string text = fmt::format("{} {:12} ", tinted(verdict, tint, style.colour), check.name);
  text += broken(printable(check.found), style.width);
  if (!check.remedy.empty()) {
    text += fmt::format("{:{}}{}", "", indent, broken("→ " + printable(check.remedy), style.width));
  }
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
