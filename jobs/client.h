#pragma once

// The client's end of the protocol: a question, sent again until its answer comes. Every message is safe to resend.

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "common/messages.h"
#include "common/result.h"
#include "common/transport.h"

namespace hivq {

/// Between a client's random identity and the user for whom it asks.
inline constexpr char behalf_mark = '@';

struct ClientOptions {
  std::chrono::milliseconds resend{1000};     // after this long without an answer
  std::chrono::milliseconds deadline{10000};  // of a question that does not say
  std::function<bool()> interrupted = {};     // asked while it waits: true gives up
  std::optional<Credentials> credentials = {};
  std::string behalf = {};  // the user for whom it asks; the coordinator believes its own HTTP side alone
};

/// Talks to one coordinator. Not thread-safe.
class Client {
 public:
  /// Errors: the endpoint is no `tcp://host:port`. A coordinator that is not there shows when it is asked.
  static Result<Client> connect(const std::string& endpoint, ClientOptions options = {});

  const std::string& endpoint() const { return endpoint_; }

  /// The answer to a question. Errors: the coordinator's own sentence, or that no coordinator answered in time.
  template <typename Answer>
  Result<Answer> ask(Body question) {
    auto answer = try_ask<Answer>(std::move(question), options_.deadline);
    if (!answer) return nobody();
    return std::move(*answer);
  }

  /// The same within `deadline`; nothing when nobody answered.
  template <typename Answer>
  std::optional<Result<Answer>> try_ask(Body question, std::chrono::milliseconds deadline) {
    auto answer = exchange({++last_id_, std::move(question)}, deadline);
    if (!answer) return std::nullopt;
    if (!*answer) return answer->error();
    if (auto* failed = std::get_if<Failed>(&**answer)) return Error{failed->reason};
    if (auto* wanted = std::get_if<Answer>(&**answer)) return std::move(*wanted);
    return unexpected(**answer, Answer::type);
  }

  /// `no coordinator answers at …`, or that it does not let us in, with the remedy.
  Error nobody();
  /// A coordinator is there and does not let us in.
  bool refused() { return !dealer_.trouble().empty(); }

 private:
  Client(std::string endpoint, Dealer dealer, ClientOptions options)
      : endpoint_(std::move(endpoint)), dealer_(std::move(dealer)), options_(std::move(options)) {}

  std::optional<Result<Body>> exchange(const Message& question, std::chrono::milliseconds deadline);
  Error unexpected(const Body& answer, const char* wanted) const;

  std::string endpoint_;
  Dealer dealer_;
  ClientOptions options_;
  uint64_t last_id_ = 0;
};

}  // namespace hivq
