#pragma once

// Log lines for people: `12:04:31 coordinator  trial 1/3 leased to gang 9f3c…`. A Log is a value that is passed in.

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace hivq {

enum class Level { debug, info, warning, error };

class Log {
 public:
  /// Where finished lines go; called from any thread, one call at a time.
  using Sink = std::function<void(Level, std::string_view line)>;

  /// To standard error, from `lowest` upwards. `who` stands in each line.
  explicit Log(std::string who, Level lowest = Level::info);
  Log(std::string who, Level lowest, Sink sink);
  /// Each line a JSON object: {"time": "2026-01-31T12:04:31.250Z", "level": "info", "program": …, "message": …}.
  static Log json(std::string who, Level lowest = Level::info);

  template <typename... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(Level::info, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) const {
    write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    write(Level::error, fmt::format(format, std::forward<Args>(args)...));
  }

  void write(Level level, const std::string& text) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace hivq
