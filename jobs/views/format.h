#pragma once

// Values as people read them.

#include <optional>
#include <string>

#include "common/clock.h"
#include "common/messages.h"
#include "common/result.h"
#include "jobs/table.h"

namespace hivq {

/// `4.2 s`, `45 s`, `2 min 05 s`, `1 h 02 min`, `3 d 04 h`.
std::string duration_text(Millis millis);
/// Local time: `2026-01-31 12:04:31`; `–` for 0.
std::string time_text(Millis at);
/// Four decimals where these say something, otherwise as an exponent.
std::string number_text(double value);
/// `0.5123 → 0.8731`; a missing value is `–`.
std::string change_text(std::optional<double> before, std::optional<double> after);
/// `1 trial`, `3 trials`.
std::string count_text(uint64_t count, const std::string& noun);
/// The colour of a job's or a trial's state.
Tint tint_of_state(const std::string& state);
bool has_ended(const std::string& state);

/// `value` of the map, if it is there.
std::optional<double> value_of(const std::map<std::string, double>& values, const std::string& name);

/// Reads `7`. Errors: a sentence for the user.
Result<JobId> parse_job_id(const std::string& text);
/// Reads `7/3`. Errors: a sentence for the user.
Result<TrialId> read_trial_id(const std::string& text);

/// A word for the shell, quoted where it must be.
std::string shell_word(const std::string& text);

}  // namespace hivq
