// Bytes on a port that lets known keys alone in: of a known peer they are what it said, and its role decides; of
// anybody else, whatever they are, nothing is heard, and the known peer is served on.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "common/messages.h"
#include "common/transport.h"
#include "coordinator/gate.h"

namespace {

using namespace hivq;
using namespace std::chrono_literals;

struct Port {
  KeyPair own = new_key_pair(), known = new_key_pair();
  Router router = std::move(
      Router::bind("tcp://127.0.0.1:0",
                   Admission{own, [this](const std::string& key, const auto&) { return key == known.public_key; },
                             [](const auto&, const auto&) {}})
          .value());
  Dealer dealer = std::move(Dealer::connect(router.endpoint(), "peer", Credentials{known, own.public_key}).value());

  /// What the known peer says is heard, and nothing else is.
  void say(const std::string& bytes) {
    check(dealer.send(bytes), "a known peer may say something");
    std::optional<Router::Incoming> heard;
    for (int i = 0; i < 200 && !heard; ++i) heard = router.receive(50ms);
    check(heard && heard->bytes == bytes && heard->key == known.public_key, "what a known peer says is heard as it is");
  }

  /// A stranger's connection.
  void shout(const std::string& bytes) const {
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port =
        htons(static_cast<uint16_t>(std::atoi(router.endpoint().c_str() + router.endpoint().rfind(':') + 1)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(file, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      (void)!send(file, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    close(file);
  }
};

/// ZMTP 3.1's greeting of a client that has CURVE: what follows is taken for the handshake's commands.
std::string greeting() {
  std::string bytes(64, '\0');
  bytes[0] = '\xff';
  bytes[9] = '\x7f';
  bytes[10] = 3;
  std::memcpy(bytes.data() + 12, "CURVE", 5);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Port port;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  port.say(bytes);
  if (auto message = decode(bytes)) {
    for (const Role role : {Role::viewer, Role::submitter, Role::admin, Role::gang}) {
      const Status may = may_send({"somebody", role}, message->body);
      check(may || may.error().message.starts_with("not allowed: "), "a refusal says so");
      if (role == Role::viewer && may) check(!job_of(message->body), "a viewer changes no job");
    }
    (void)audit_text(message->body);
  }
  port.shout(bytes);
  port.shout(greeting() + bytes);
  port.say("still here");
  return 0;
}
