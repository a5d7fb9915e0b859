#include "jobs/client.h"

#include <algorithm>

namespace hivq {

namespace {
// How long a wait goes before `interrupted` is asked again.
constexpr std::chrono::milliseconds patience{100};
}  // namespace

Result<Client> Client::connect(const std::string& endpoint, ClientOptions options) {
  const std::string identity = options.behalf.empty() ? random_id() : random_id() + behalf_mark + options.behalf;
  auto dealer = Dealer::connect(endpoint, identity, options.credentials);
  if (!dealer) return dealer.error();
  return Client(endpoint, std::move(*dealer), std::move(options));
}

std::optional<Result<Body>> Client::exchange(const Message& question, std::chrono::milliseconds deadline) {
  using clock = std::chrono::steady_clock;
  const std::string bytes = encode(question);
  const auto end = clock::now() + deadline;
  auto next_send = clock::now();
  while (clock::now() < end) {
    if (options_.interrupted && options_.interrupted()) return std::nullopt;
    if (clock::now() >= next_send) {
      dealer_.send(bytes);  // a full queue empties itself once the coordinator is back
      next_send = clock::now() + options_.resend;
    }
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(std::min(next_send, end) - clock::now());
    auto received = dealer_.receive(std::clamp(wait, std::chrono::milliseconds(1), patience));
    if (!received) {
      // A coordinator that does not know a key may be told of it, but not while somebody waits here.
      if (!dealer_.trouble().empty()) return std::nullopt;
      continue;
    }
    auto answer = decode(*received);
    if (!answer)
      return Result<Body>(error("{} sent an answer that cannot be read: {}", endpoint_, answer.error().message));
    if (answer->id == question.id) return Result<Body>(std::move(answer->body));
    // Another id: the late or repeated answer to an earlier question.
  }
  return std::nullopt;
}

Error Client::nobody() {
  if (const std::string& why = dealer_.trouble(); !why.empty()) {
    return error("the coordinator at {} does not let us in: {}", endpoint_, why);
  }
  return error(
      "no coordinator answers at {}: start one with hivq-coordinator, or name another with --coordinator "
      "tcp://HOST:PORT",
      endpoint_);
}

Error Client::unexpected(const Body& answer, const char* wanted) const {
  const char* type = std::visit([](const auto& body) { return std::remove_cvref_t<decltype(body)>::type; }, answer);
  return error(
      "{} answered with '{}' where '{}' was expected: it is another version of hivq; use the same on both sides",
      endpoint_, type, wanted);
}

}  // namespace hivq
