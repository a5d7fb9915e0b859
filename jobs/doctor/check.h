#pragma once

// What `hivq doctor` says of one thing: how it stands, what was found, and what to do where that is wrong.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "jobs/table.h"

namespace hivq::doctor {

enum class Verdict { ok, warning, problem };
const char* to_string(Verdict verdict);

struct Check {
  std::string name;  // programs, mpirun, cores …
  Verdict verdict = Verdict::ok;
  std::string found;
  std::string remedy;  // a command or a sentence; empty where nothing is wrong
};

/// `✓ ok       cores        8 CPUs`, and a second line for the remedy; broken at words where it is wider than the
/// terminal.
std::string to_text(const Check& check, const TableStyle& style);
/// `2 warnings, no problem`, for the end.
std::string summary(const std::vector<Check>& checks);
bool any_problem(const std::vector<Check>& checks);
/// {ok, checks: [{name, verdict, found, remedy}]}
nlohmann::ordered_json to_json(const std::vector<Check>& checks);

/// `4.0 GiB`, `512 MiB`.
std::string bytes_text(double bytes);

}  // namespace hivq::doctor
