#include "common/transport.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>

namespace hivq {

namespace {

// Owns a ZeroMQ context with its one socket.
struct Socket {
  void* context = zmq_ctx_new();
  void* socket = nullptr;

  explicit Socket(int type) : socket(zmq_socket(context, type)) {}
  Socket(const Socket&) = delete;
  ~Socket() {
    zmq_close(socket);
    zmq_ctx_term(context);
  }
  void set(int option, int value) { zmq_setsockopt(socket, option, &value, sizeof value); }
};

constexpr int64_t largest_question = 8 << 20;   // bytes of a message to the coordinator: a Report has at most one chunk
constexpr int64_t largest_answer = 1 << 30;     // bytes of a message from it: a job of many trials is long
// Of one peer, in the coordinator's memory; beyond the first ZeroMQ reads no more from the peer, and its TCP connection
// stands still; beyond the second, answers to a peer that does not read are dropped, and it asks again.
constexpr int unread_messages = 16, unheard_messages = 256;
// The one thread that reads takes so much of a peer before it turns to the next: who asks little among peers that pour out
// checkpoints waits for a few megabytes, not for a few hundred.
constexpr int bytes_at_once = 256 << 10;
constexpr int unsent_messages = 100;            // kept for a coordinator that is away; the protocol resends anyway

// Whoever sends a larger message is disconnected before it takes memory. A dead peer is noticed within seconds, so that
// a restarted one is connected again at once.
void prepare(Socket& socket, int64_t largest_message) {
  zmq_setsockopt(socket.socket, ZMQ_MAXMSGSIZE, &largest_message, sizeof largest_message);
  socket.set(ZMQ_HEARTBEAT_IVL, 2000);
  socket.set(ZMQ_HEARTBEAT_TIMEOUT, 10000);
}

std::optional<std::string> receive_part(void* socket) {
  zmq_msg_t part;
  zmq_msg_init(&part);
  if (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
    zmq_msg_close(&part);
    return std::nullopt;
  }
  std::string bytes(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
  zmq_msg_close(&part);
  return bytes;
}

int asked(void* socket, int option) {
  int value = 0;
  size_t size = sizeof value;
  zmq_getsockopt(socket, option, &value, &size);
  return value;
}

bool more_parts(void* socket) { return asked(socket, ZMQ_RCVMORE) != 0; }

/// Asking also looks for peers that are new or have something to say after a silence. Receiving by itself does so once in
/// a hundred parts only, and those may be of 4 MiB each.
bool readable(void* socket) { return (asked(socket, ZMQ_EVENTS) & ZMQ_POLLIN) != 0; }

}  // namespace

struct Router::State {
  Socket socket{ZMQ_ROUTER};
  std::string endpoint;
};

Router::Router(std::unique_ptr<State> state) : state_(std::move(state)) {}
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;
Router::~Router() = default;

Result<Router> Router::bind(const std::string& endpoint) {
  auto state = std::make_unique<State>();
  Socket& socket = state->socket;
  prepare(socket, largest_question);
  socket.set(ZMQ_IPV6, endpoint.find('[') != endpoint.npos);  // else 127.0.0.1 is called [::ffff:127.0.0.1]
  socket.set(ZMQ_LINGER, 500);                                // answers on their way out at the end
  socket.set(ZMQ_ROUTER_HANDOVER, 1);  // a gang that reconnects takes its name over from its dead connection
  socket.set(ZMQ_SNDHWM, unheard_messages);
  socket.set(ZMQ_RCVHWM, unread_messages);
  socket.set(ZMQ_RCVBUF, bytes_at_once);
  // ZeroMQ takes `*` for a free port.
  std::string address = endpoint.ends_with(":0") ? endpoint.substr(0, endpoint.size() - 1) + "*" : endpoint;
  if (zmq_bind(socket.socket, address.c_str()) != 0) {
    switch (errno) {
      case EADDRINUSE:
        return error(
            "{} is in use: another program listens there; choose another port with --listen, or 0 for a free one",
            endpoint);
      case EADDRNOTAVAIL:
      case ENODEV:
        return error("{} is not an address of this machine: listen on one of its own, or on tcp://0.0.0.0:PORT",
                     endpoint);
      case EACCES:
        return error("{} needs more rights than this user has: choose a port above 1023", endpoint);
      default:
        return error("cannot listen on {}: {}; the form is tcp://HOST:PORT", endpoint, zmq_strerror(errno));
    }
  }
  char name[256];
  size_t size = sizeof name;
  zmq_getsockopt(socket.socket, ZMQ_LAST_ENDPOINT, name, &size);
  state->endpoint = name;
  return Router(std::move(state));
}

const std::string& Router::endpoint() const { return state_->endpoint; }

std::optional<Router::Incoming> Router::receive(std::chrono::milliseconds timeout) {
  void* socket = state_->socket.socket;
  if (!readable(socket)) {
    zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
    if (timeout.count() == 0 || zmq_poll(&item, 1, timeout.count()) <= 0) return std::nullopt;
  }
  auto identity = receive_part(socket);
  if (!identity) return std::nullopt;
  std::string bytes;
  while (more_parts(socket)) {  // the last part is the message; ours have one
    auto part = receive_part(socket);
    if (part) bytes = std::move(*part);
  }
  return Incoming{std::move(*identity), std::move(bytes)};
}

void Router::send(const std::string& identity, const std::string& bytes) {
  void* socket = state_->socket.socket;
  if (zmq_send(socket, identity.data(), identity.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
  zmq_send(socket, bytes.data(), bytes.size(), ZMQ_DONTWAIT);
}

struct Dealer::State {
  Socket socket{ZMQ_DEALER};
  int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ~State() { close(wake); }
};

Dealer::Dealer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dealer::Dealer(Dealer&&) noexcept = default;
Dealer& Dealer::operator=(Dealer&&) noexcept = default;
Dealer::~Dealer() = default;

Result<Dealer> Dealer::connect(const std::string& endpoint, const std::string& identity) {
  auto state = std::make_unique<State>();
  Socket& socket = state->socket;
  prepare(socket, largest_answer);
  socket.set(ZMQ_IPV6, 1);
  socket.set(ZMQ_LINGER, 1000);
  socket.set(ZMQ_RECONNECT_IVL, 50);
  socket.set(ZMQ_RECONNECT_IVL_MAX, 1000);
  socket.set(ZMQ_SNDHWM, unsent_messages);
  zmq_setsockopt(socket.socket, ZMQ_ROUTING_ID, identity.data(), identity.size());
  if (zmq_connect(socket.socket, endpoint.c_str()) != 0) {
    return error("cannot connect to '{}': {}; the form is tcp://HOST:PORT", endpoint, zmq_strerror(errno));
  }
  return Dealer(std::move(state));
}

std::optional<std::string> Dealer::receive(std::chrono::milliseconds timeout) {
  zmq_pollitem_t items[] = {{state_->socket.socket, 0, ZMQ_POLLIN, 0}, {nullptr, state_->wake, ZMQ_POLLIN, 0}};
  if (zmq_poll(items, 2, timeout.count()) <= 0) return std::nullopt;
  if (items[1].revents != 0) {
    uint64_t count = 0;
    (void)!read(state_->wake, &count, sizeof count);
  }
  auto bytes = receive_part(state_->socket.socket);
  while (bytes && more_parts(state_->socket.socket)) bytes = receive_part(state_->socket.socket);
  return bytes;
}

bool Dealer::send(const std::string& bytes) {
  return zmq_send(state_->socket.socket, bytes.data(), bytes.size(), ZMQ_DONTWAIT) >= 0;
}

void Dealer::wake() {
  uint64_t one = 1;
  (void)!write(state_->wake, &one, sizeof one);
}

}  // namespace hivq
