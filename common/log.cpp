#include "common/log.h"

#include <cstdio>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>

#include "common/clock.h"

namespace hivq {

struct Log::State {
  std::string who;
  Level lowest;
  Sink sink;
  bool json = false;
  std::mutex mutex;
};

namespace {

void to_stderr(Level, std::string_view line) {
  // One write per line, so that the lines of several processes do not mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
}

const char* name_of(Level level) {
  switch (level) {
    case Level::debug:
      return "debug";
    case Level::info:
      return "info";
    case Level::warning:
      return "warning";
    case Level::error:
      return "error";
  }
  return "";
}

std::string mark(Level level) { return level == Level::info ? "" : std::string(name_of(level)) + ": "; }

std::string json_line(const std::string& who, Level level, const std::string& text) {
  const Millis now = wall_clock();
  const auto seconds = static_cast<std::time_t>(now / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const nlohmann::ordered_json line{
      {"time", fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                           utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now % 1000)},
      {"level", name_of(level)},
      {"program", who},
      {"message", text}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace

Log Log::json(std::string who, Level lowest) {
  Log log(std::move(who), lowest);
  log.state_->json = true;
  return log;
}

Log::Log(std::string who, Level lowest) : Log(std::move(who), lowest, to_stderr) {}

Log::Log(std::string who, Level lowest, Sink sink) : state_(std::make_shared<State>()) {
  state_->who = std::move(who);
  state_->lowest = lowest;
  state_->sink = std::move(sink);
}

void Log::write(Level level, const std::string& text) const {
  if (level < state_->lowest) return;
  if (state_->json) {
    const std::string line = json_line(state_->who, level, text);
    std::lock_guard lock(state_->mutex);
    return state_->sink(level, line);
  }
  std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string line = fmt::format("{:02}:{:02}:{:02} {}  {}{}\n", local.tm_hour, local.tm_min, local.tm_sec, state_->who,
                                 mark(level), text);
  std::lock_guard lock(state_->mutex);
  state_->sink(level, line);
}

}  // namespace hivq
