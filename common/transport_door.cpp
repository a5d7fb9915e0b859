#include "common/transport_door.h"

#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "common/sha256.h"

namespace hivq {

namespace {

constexpr const char* questions_endpoint = "inproc://zeromq.zap.01";  // where ZeroMQ asks
constexpr const char* events_endpoint = "inproc://handshakes";
constexpr int failures =
    ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

std::vector<std::string> receive_all(void* socket, int flags) {
  std::vector<std::string> parts;
  for (bool more = true; more;) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, flags) < 0) {
      zmq_msg_close(&part);
      return {};
    }
    parts.emplace_back(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    more = zmq_msg_more(&part) != 0;
    zmq_msg_close(&part);
  }
  return parts;
}

struct Event {
  int what = 0;
  int32_t value = 0;  // a file descriptor, an error
};

std::optional<Event> next_event(void* socket) {
  const auto parts = receive_all(socket, ZMQ_DONTWAIT);
  uint16_t what = 0;
  Event event;
  if (parts.empty() || parts[0].size() < sizeof what + sizeof event.value) return std::nullopt;
  std::memcpy(&what, parts[0].data(), sizeof what);
  std::memcpy(&event.value, parts[0].data() + sizeof what, sizeof event.value);
  event.what = what;
  return event;
}

void* watch(void* context, void* socket, int events) {
  zmq_socket_monitor(socket, events_endpoint, events);
  void* pair = zmq_socket(context, ZMQ_PAIR);
  zmq_connect(pair, events_endpoint);
  return pair;
}

std::string address_of(int file) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (getpeername(file, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&peer)->sin_addr, text, sizeof text);
  } else if (peer.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&peer)->sin6_addr, text, sizeof text);
  }
  return text;
}

std::string why_refused(const Event& event) {
  if (event.what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return "its key is not known";
  if (event.what == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
    return "it has no key, said nothing that can be understood, or left";
  switch (event.value) {
    case ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
      return "it has no key";
    case ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
      return "it takes this coordinator for another one, or has no valid key";
    default:
      return fmt::format("it does not speak the protocol (ZeroMQ's error {:#x})", event.value);
  }
}

}  // namespace

// ---- The coordinator's side ----

Door::Door(void* context, void* socket, Admission admission)
    : socket_(socket), admission_(std::move(admission)), end_(eventfd(0, EFD_CLOEXEC)) {
  questions_ = zmq_socket(context, ZMQ_REP);
  zmq_bind(questions_, questions_endpoint);
  zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "hivq", 4);
  events_ = watch(context, socket, failures | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED);
  thread_ = std::thread([this] { run(); });
}

Door::~Door() {
  const uint64_t one = 1;
  (void)!write(end_, &one, sizeof one);
  thread_.join();
  zmq_socket_monitor(socket_, nullptr, 0);
  zmq_close(events_);
  zmq_close(questions_);
  close(end_);
}

void Door::run() {
  zmq_pollitem_t items[] = {
      {questions_, 0, ZMQ_POLLIN, 0}, {events_, 0, ZMQ_POLLIN, 0}, {nullptr, end_, ZMQ_POLLIN, 0}};
  while (true) {
    if (zmq_poll(items, 3, -1) < 0) {
      if (errno == EINTR) continue;  // without this thread nobody gets in, and soon nobody is heard
      return;
    }
    if (items[2].revents != 0) return;
    if (items[0].revents != 0) answer_question();
    if (items[1].revents != 0) take_event();
  }
}

void Door::answer_question() {
  // version, request, domain, address, identity, mechanism, key
  const auto question = receive_all(questions_, ZMQ_DONTWAIT);
  if (question.size() < 2) return;
  std::string key;
  bool known = false;
  if (question.size() == 7 && question[5] == "CURVE" && question[6].size() == 32) {
    key = hex_text(question[6]);
    known = admission_.knows(key, question[3]);
  }
  // version, request, status, its text, user, metadata
  const std::string answer[] = {
      "1.0", question[1], known ? "200" : "400", known ? "OK" : "unknown key", known ? key : "", ""};
  for (size_t i = 0; i < std::size(answer); ++i) {
    zmq_send(questions_, answer[i].data(), answer[i].size(), i + 1 < std::size(answer) ? ZMQ_SNDMORE : 0);
  }
}

void Door::take_event() {
  const auto event = next_event(events_);
  if (!event) return;
  if (event->what == ZMQ_EVENT_ACCEPTED) {
    addresses_[event->value] = address_of(event->value);
  } else if (event->what == ZMQ_EVENT_DISCONNECTED) {
    const auto address = addresses_.extract(event->value);
    if (const std::string failed = std::exchange(failed_, ""); !failed.empty()) {
      admission_.refused(address.empty() ? "" : address.mapped(), failed);
    }
  } else if ((event->what & failures) != 0) {
    failed_ = why_refused(*event);  // its connection's end follows at once
  }
}

// ---- A client's side ----

HandshakeWatch::HandshakeWatch(void* context, void* socket, bool with_key)
    : socket_(socket), with_key_(with_key), events_(watch(context, socket, failures | ZMQ_EVENT_HANDSHAKE_SUCCEEDED)) {}

HandshakeWatch::~HandshakeWatch() {
  zmq_socket_monitor(socket_, nullptr, 0);
  zmq_close(events_);
}

void HandshakeWatch::take_events() {
  constexpr int surely = 3;  // a coordinator that ends in the middle of a handshake gives one
  while (const auto event = next_event(events_)) {
    if (event->what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
      trouble_.clear();
      unexplained_ = 0;
      continue;
    }
    if (event->what != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) gave_up_ = true;
    // Of a mismatch the side that hears of it first tells, so that it may show as an end without a reason.
    if (event->what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
      trouble_ = "it does not know this key, or it is revoked: an operator adds one with hivq keys add NAME";
    } else if (gave_up_ || ++unexplained_ >= surely) {
      trouble_ = with_key_
                     ? "the handshake fails: it asks for no key, or has another key than coordinator_key says, or is "
                       "no coordinator of hivq"
                     : "it asks for a key: name yours with --key FILE or HIVQ_KEY (an operator makes one with hivq "
                       "keys add NAME)";
    }
  }
}

const std::string& HandshakeWatch::trouble() {
  take_events();
  return trouble_;
}

bool HandshakeWatch::gave_up() {
  take_events();
  return std::exchange(gave_up_, false);
}

}  // namespace hivq
