#include "common/log.h"

#include <cstdio>
#include <ctime>
#include <mutex>

namespace hivq {

struct Log::State {
  std::string who;
  Level lowest;
  Sink sink;
  std::mutex mutex;
};

namespace {

void to_stderr(Level, std::string_view line) {
  // One write per line, so that the lines of several processes do not mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
}

const char* mark(Level level) {
  switch (level) {
    case Level::debug: return "debug: ";
    case Level::info: return "";
    case Level::warning: return "warning: ";
    case Level::error: return "error: ";
  }
  return "";
}

}  // namespace

Log::Log(std::string who, Level lowest) : Log(std::move(who), lowest, to_stderr) {}

Log::Log(std::string who, Level lowest, Sink sink) : state_(std::make_shared<State>()) {
  state_->who = std::move(who);
  state_->lowest = lowest;
  state_->sink = std::move(sink);
}

void Log::write(Level level, const std::string& text) const {
  if (level < state_->lowest) return;
  std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string line = fmt::format("{:02}:{:02}:{:02} {}  {}{}\n", local.tm_hour, local.tm_min, local.tm_sec, state_->who,
                                 mark(level), text);
  std::lock_guard lock(state_->mutex);
  state_->sink(level, line);
}

}  // namespace hivq
