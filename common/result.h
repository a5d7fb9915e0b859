#pragma once

// Errors are values: a function that can fail returns Result<T>, and its Error carries a sentence for the user.

#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace hivq {

/// What went wrong, where, and what to do about it, as a sentence for the user.
struct Error {
  std::string message;
};

/// Makes an Error from a format string: `return error("{}:{}: {} is 0; it must be at least 1", ...)`.
template <typename... Args>
[[nodiscard]] Error error(fmt::format_string<Args...> format, Args&&... args) {
  return Error{fmt::format(format, std::forward<Args>(args)...)};
}

/// Ends the program with a message where an invariant of the code itself is broken; active in release builds.
[[noreturn]] inline void panic(const std::string& message) {
  fmt::print(stderr, "hivq: internal error: {}\n", message);
  std::abort();
}

inline void check(bool condition, const char* what) {
  if (!condition) panic(what);
}

/// Either a value or an Error. `if (!result) return result.error();` hands an error on.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  const Error& error() const {
    check(state_.index() == 1, "error() of a Result that holds a value");
    return std::get<1>(state_);
  }
  T& value() & {
    if (state_.index() == 1) panic(std::get<1>(state_).message);
    return std::get<0>(state_);
  }
  const T& value() const& { return const_cast<Result*>(this)->value(); }
  T value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

/// A Result without a value: success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}

  explicit operator bool() const { return !failed_; }
  const Error& error() const {
    check(failed_, "error() of a Result that succeeded");
    return error_;
  }
  void value() const {
    if (failed_) panic(error_.message);
  }

 private:
  Error error_;
  bool failed_ = false;
};

using Status = Result<void>;

}  // namespace hivq
