#include "jobs/views/format.h"

#include <charconv>
#include <cmath>
#include <ctime>

namespace hivq {

std::string duration_text(Millis millis) {
  if (millis < 0) millis = 0;
  if (millis < 10'000) return fmt::format("{:.1f} s", static_cast<double>(millis) / 1000);
  int64_t seconds = (millis + 500) / 1000, minutes = seconds / 60, hours = minutes / 60;
  if (minutes == 0) return fmt::format("{} s", seconds);
  if (hours == 0) return fmt::format("{} min {:02} s", minutes, seconds % 60);
  if (hours < 24) return fmt::format("{} h {:02} min", hours, minutes % 60);
  return fmt::format("{} d {:02} h", hours / 24, hours % 24);
}

std::string time_text(Millis at) {
  if (at == 0) return "–";
  std::time_t seconds = at / 1000;
  std::tm local{};
  if (localtime_r(&seconds, &local) == nullptr) return "–";
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local));
}

std::string number_text(double value) {
  double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.3e}", value);
  return size >= 1000 ? fmt::format("{:.1f}", value) : fmt::format("{:.4f}", value);
}

std::string change_text(std::optional<double> before, std::optional<double> after) {
  if (!before && !after) return "–";
  return fmt::format("{} → {}", before ? number_text(*before) : "–", after ? number_text(*after) : "–");
}

std::string count_text(uint64_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

Tint tint_of_state(const std::string& state) {
  if (state == "finished") return Tint::good;
  if (state == "failed") return Tint::bad;
  if (state == "running") return Tint::accent;
  return Tint::dim;
}

bool has_ended(const std::string& state) { return state == "finished" || state == "failed" || state == "cancelled"; }

std::optional<double> value_of(const std::map<std::string, double>& values, const std::string& name) {
  auto found = values.find(name);
  if (found == values.end()) return std::nullopt;
  return found->second;
}

Result<JobId> parse_job_id(const std::string& text) {
  JobId id = 0;
  const char* end = text.data() + text.size();
  auto read = std::from_chars(text.data(), end, id);
  if (read.ec != std::errc() || read.ptr != end || id == 0) {
    return error("'{}' is no job: a job is a number, such as 1; `hivq list` shows them", printable(text));
  }
  return id;
}

Result<TrialId> read_trial_id(const std::string& text) {
  auto id = parse_trial_id(text);
  if (!id || id->job == 0) {
    return error("'{}' is no trial: a trial is its job and its place there, such as 1/0; `hivq show JOB` shows them",
                 printable(text));
  }
  return *id;
}

std::string shell_word(const std::string& text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) return text;
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace hivq
