#include "common/transport.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <unordered_map>

#include "common/ids.h"
#include "common/transport_door.h"

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

constexpr int64_t largest_question = 8 << 20;  // bytes of a message to the coordinator: a Report has at most one chunk
constexpr int64_t largest_answer = 1 << 30;    // bytes of a message from it: a job of many trials is long
// Of one peer, in the coordinator's memory; beyond the first ZeroMQ reads no more from the peer, and its TCP connection
// stands still; beyond the second, answers to a peer that does not read are dropped, and it asks again.
constexpr int unread_messages = 16, unheard_messages = 256;
// The one thread that reads takes so much of a peer before it turns to the next: who asks little among peers that pour
// out checkpoints waits for a few megabytes, not for a few hundred.
constexpr int bytes_at_once = 256 << 10;
constexpr int unsent_messages = 100;  // kept for a coordinator that is away; the protocol resends anyway
constexpr int handshake_time = 5000;  // milliseconds, for a connection to say who it is
constexpr int connect_time = 3000;  // of a machine that has gone nobody says so: then another one may have its address
constexpr auto refused_time = std::chrono::seconds(1);  // before a peer that was refused tries again
// On the wire an identity has a tail that only its holder and the coordinator know: without it another peer could take
// the identity over, and with it what is sent to it.
constexpr char tail_mark = ':';
constexpr size_t most_routes = 4096;                   // remembered before silent ones are forgotten
constexpr auto sweep_time = std::chrono::seconds(10);  // … which is looked for so often
constexpr auto longest_silence = std::chrono::minutes(10);

// Whoever sends a larger message is disconnected before it takes memory. A dead peer is noticed within seconds, so that
// a restarted one is connected again at once.
void prepare(Socket& socket, int64_t largest_message) {
  zmq_setsockopt(socket.socket, ZMQ_MAXMSGSIZE, &largest_message, sizeof largest_message);
  socket.set(ZMQ_HEARTBEAT_IVL, 2000);
  socket.set(ZMQ_HEARTBEAT_TIMEOUT, 10000);
  socket.set(ZMQ_HANDSHAKE_IVL, handshake_time);
}

/// `from`: takes the peer's public key, where the connection has one, and its machine's address.
std::optional<std::string> receive_part(void* socket, Router::Incoming* from = nullptr) {
  zmq_msg_t part;
  zmq_msg_init(&part);
  if (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
    zmq_msg_close(&part);
    return std::nullopt;
  }
  std::string bytes(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
  if (from != nullptr) {
    const char* key = zmq_msg_gets(&part, "User-Id");
    const char* address = zmq_msg_gets(&part, "Peer-Address");
    from->key = key == nullptr ? "" : key;
    from->address = address == nullptr ? "" : address;
  }
  zmq_msg_close(&part);
  return bytes;
}

void set_key(Socket& socket, int option, const std::string& key) {
  const std::string bytes = raw_key(key);
  zmq_setsockopt(socket.socket, option, bytes.data(), bytes.size());
}

int asked(void* socket, int option) {
  int value = 0;
  size_t size = sizeof value;
  zmq_getsockopt(socket, option, &value, &size);
  return value;
}

bool more_parts(void* socket) { return asked(socket, ZMQ_RCVMORE) != 0; }

/// Asking also looks for peers that are new or have something to say after a silence. Receiving by itself does so once
/// in a hundred parts only, and those may be of 4 MiB each.
bool readable(void* socket) { return (asked(socket, ZMQ_EVENTS) & ZMQ_POLLIN) != 0; }

}  // namespace

struct Router::State {
  using clock = std::chrono::steady_clock;
  /// Who speaks under an identity.
  struct Route {
    std::string address;  // the identity with its tail
    std::string key;
    clock::time_point heard;
  };

  Socket socket{ZMQ_ROUTER};
  std::unique_ptr<Door> door;  // goes before the socket
  std::string endpoint;
  std::unordered_map<std::string, Route> routes;  // by identity
  std::function<bool(const std::string&, const std::string&)> outranks;
  clock::time_point next_sweep;

  /// Whether the peer may speak under the identity; then answers go to it.
  bool note(const std::string& identity, const std::string& address, const std::string& key) {
    const auto now = clock::now();
    if (routes.size() >= most_routes && now >= next_sweep) {
      next_sweep = now + sweep_time;
      std::erase_if(routes, [&](const auto& entry) { return now - entry.second.heard > longest_silence; });
    }
    Route& route = routes[identity];
    const bool held = !route.address.empty() && route.key != key && now - route.heard <= longest_silence;
    if (held && !(outranks && outranks(key, route.key))) return false;
    route = {address, key, now};
    return true;
  }
};

Router::Router(std::unique_ptr<State> state) : state_(std::move(state)) {}
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;
Router::~Router() = default;

Result<Router> Router::bind(const std::string& endpoint, std::optional<Admission> admission) {
  auto state = std::make_unique<State>();
  Socket& socket = state->socket;
  prepare(socket, largest_question);
  if (admission) {
    socket.set(ZMQ_CURVE_SERVER, 1);
    set_key(socket, ZMQ_CURVE_SECRETKEY, admission->own.secret);
    state->outranks = admission->outranks;
    state->door = std::make_unique<Door>(socket.context, socket.socket, std::move(*admission));
  }
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
  auto address = receive_part(socket);
  if (!address) return std::nullopt;
  Incoming incoming{address->substr(0, address->rfind(tail_mark)), ""};
  while (more_parts(socket)) {  // the last part is the message; ours have one
    auto part = receive_part(socket, &incoming);
    if (part) incoming.bytes = std::move(*part);
  }
  if (!state_->note(incoming.identity, *address, incoming.key)) return std::nullopt;
  return incoming;
}

void Router::send(const std::string& identity, const std::string& bytes) {
  void* socket = state_->socket.socket;
  const auto route = state_->routes.find(identity);
  if (route == state_->routes.end()) return;
  const std::string& address = route->second.address;
  if (zmq_send(socket, address.data(), address.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
  zmq_send(socket, bytes.data(), bytes.size(), ZMQ_DONTWAIT);
}

struct Dealer::State {
  Socket socket{ZMQ_DEALER};
  int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  std::unique_ptr<HandshakeWatch> watch;  // goes before the socket
  std::string endpoint;
  std::chrono::steady_clock::time_point next_try;
  ~State() { close(wake); }

  /// Whom the coordinator does not let in may be let in later. What waited to be sent is lost; the protocol resends.
  void try_again() {
    const auto now = std::chrono::steady_clock::now();
    if (watch->gave_up()) next_try = now + refused_time;
    if (next_try == decltype(next_try)() || now < next_try) return;
    next_try = {};
    zmq_disconnect(socket.socket, endpoint.c_str());
    zmq_connect(socket.socket, endpoint.c_str());
  }
};

Dealer::Dealer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dealer::Dealer(Dealer&&) noexcept = default;
Dealer& Dealer::operator=(Dealer&&) noexcept = default;
Dealer::~Dealer() = default;

Result<Dealer> Dealer::connect(const std::string& endpoint, const std::string& identity,
                               const std::optional<Credentials>& credentials) {
  auto state = std::make_unique<State>();
  Socket& socket = state->socket;
  prepare(socket, largest_answer);
  socket.set(ZMQ_IPV6, 1);
  socket.set(ZMQ_LINGER, 1000);
  socket.set(ZMQ_RECONNECT_IVL, 50);
  socket.set(ZMQ_CONNECT_TIMEOUT, connect_time);
  socket.set(ZMQ_RECONNECT_IVL_MAX, 1000);
  socket.set(ZMQ_SNDHWM, unsent_messages);
  const std::string address = identity + tail_mark + random_id();
  zmq_setsockopt(socket.socket, ZMQ_ROUTING_ID, address.data(), address.size());
  if (credentials) {
    set_key(socket, ZMQ_CURVE_SERVERKEY, credentials->coordinator_key);
    set_key(socket, ZMQ_CURVE_PUBLICKEY, credentials->key.public_key);
    set_key(socket, ZMQ_CURVE_SECRETKEY, credentials->key.secret);
  }
  state->watch = std::make_unique<HandshakeWatch>(socket.context, socket.socket, credentials.has_value());
  state->endpoint = endpoint;
  if (zmq_connect(socket.socket, endpoint.c_str()) != 0) {
    return error("cannot connect to '{}': {}; the form is tcp://HOST:PORT", endpoint, zmq_strerror(errno));
  }
  return Dealer(std::move(state));
}

std::optional<std::string> Dealer::receive(std::chrono::milliseconds timeout) {
  zmq_pollitem_t items[] = {{state_->socket.socket, 0, ZMQ_POLLIN, 0}, {nullptr, state_->wake, ZMQ_POLLIN, 0}};
  if (zmq_poll(items, 2, timeout.count()) <= 0) {
    state_->try_again();
    return std::nullopt;
  }
  if (items[1].revents != 0) {
    uint64_t count = 0;
    (void)!read(state_->wake, &count, sizeof count);
  }
  auto bytes = receive_part(state_->socket.socket);
  while (bytes && more_parts(state_->socket.socket)) bytes = receive_part(state_->socket.socket);
  return bytes;
}

const std::string& Dealer::trouble() { return state_->watch->trouble(); }

bool Dealer::send(const std::string& bytes) {
  return zmq_send(state_->socket.socket, bytes.data(), bytes.size(), ZMQ_DONTWAIT) >= 0;
}

void Dealer::wake() {
  uint64_t one = 1;
  (void)!write(state_->wake, &one, sizeof one);
}

}  // namespace hivq
