#include "coordinator/http/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

namespace hivq {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kTooLarge = "its request is too large";
constexpr const char* kTooSlow = "its request did not come in time";
constexpr const char* kSlowReader = "it did not take its answer in time";
constexpr const char* kNoPlace = "too many connections without a token are open";

std::pair<std::string, int> name_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {text, ntohs(v4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return {text, ntohs(v6.sin6_port)};
  }
  return {"", 0};
}

std::pair<std::string, int> peer_of(socket_t socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? name_of(address)
                                                                                : std::pair<std::string, int>();
}

}  // namespace

/// The socket is non-blocking; every wait is a poll with a limit.
class ConnectionServer::Connection final : public httplib::Stream {
 public:
  Connection(ConnectionServer& server, socket_t socket, std::string address)
      : server_(server), socket_(socket), address_(std::move(address)), unproven_(server.count_unproven_) {
    fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
    begin_request();
  }
  Connection(const Connection&) = delete;
  ~Connection() override {
    if (ssl_) SSL_shutdown(ssl_.get());
    if (last_ && !(too_large_ && in_head_)) linger();
    prove();
  }

  bool handshake(const std::shared_ptr<TlsContext>& tls) {
    if (!tls) return true;
    context_ = tls->get();
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket_);
    for (;;) {
      ERR_clear_error();
      const int done = SSL_accept(ssl_.get());
      if (done == 1) return true;
      if (!await(SSL_get_error(ssl_.get(), done), deadline())) return false;
    }
  }

  /// From now on the peer has its time for one request; without a token it has that since it came.
  void begin_request() {
    if (!unproven_) begun_ = clock::now();
    received_ = read_ = sent_ = 0;
    most_ = server_.limits_.head;
    answer_begun_.reset();
    in_head_ = true;
    too_large_ = told_ = false;
  }
  void head_ended() {
    most_ = read_ + server_.limits_.body + server_.limits_.framing;
    in_head_ = false;
  }
  bool too_large() const { return too_large_; }
  void refuse(const std::string& why) {
    if (!std::exchange(told_, true) && server_.refused_) server_.refused_(address_, why);
  }
  /// Before an answer is written. One that tells the peer to close is the last, whatever the peer does then.
  void begin_answer(httplib::Response& response) {
    last_ = unproven_ || response.get_header_value("Connection") == "close";
    if (!last_) return;
    response.headers.erase("Connection");
    response.headers.erase("Keep-Alive");
    response.set_header("Connection", "close");
  }
  bool last() const { return last_; }
  /// Whether the next request begins within `limit`.
  bool another(std::chrono::seconds limit) {
    if (next_ < end_ || (ssl_ && SSL_pending(ssl_.get()) > 0)) return true;
    const auto until = clock::now() + limit;
    while (clock::now() < until && server_.svr_sock_ != INVALID_SOCKET) {
      if (wait(POLLIN, std::min<clock::time_point>(until, clock::now() + milliseconds(100)))) return true;
    }
    return false;
  }
  void prove() {
    if (!std::exchange(unproven_, false)) return;
    begun_ = clock::now();
    server_.release(address_);
  }

  bool is_readable() const override { return next_ < end_ || wait(POLLIN, deadline()); }
  bool is_writable() const override { return wait(POLLOUT, write_deadline()); }

  /// The library keeps what it reads, a line of any length too: it gets so much of a request only.
  ssize_t read(char* bytes, size_t size) override {
    if (read_ >= most_) {
      too_large_ = true;
      refuse(kTooLarge);
      return -1;
    }
    if (next_ == end_) {
      const ssize_t count = fill();
      if (count <= 0) return count;
    }
    const size_t taken = std::min({size, end_ - next_, most_ - read_});
    std::copy_n(buffer_ + next_, taken, bytes);
    next_ += taken;
    read_ += taken;
    return static_cast<ssize_t>(taken);
  }

  ssize_t write(const char* bytes, size_t size) override {
    if (!answer_begun_) answer_begun_ = clock::now();
    const auto until = write_deadline();
    for (;;) {
      if (clock::now() >= until) {  // however often the peer takes a little
        if (unproven_) refuse(kSlowReader);
        return -1;
      }
      int why = 0;
      if (ssl_) {
        ERR_clear_error();
        const int part = static_cast<int>(std::min<size_t>(size, 1 << 20)), count = SSL_write(ssl_.get(), bytes, part);
        if (count > 0) return written(count);
        why = SSL_get_error(ssl_.get(), count);
      } else {
        const ssize_t count = send(socket_, bytes, size, MSG_NOSIGNAL);
        if (count >= 0) return written(count);
        if (errno == EINTR) continue;
        why = errno == EAGAIN ? SSL_ERROR_WANT_WRITE : SSL_ERROR_SYSCALL;
      }
      if (!wait_for(why, until) && clock::now() < until) return -1;
    }
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { std::tie(ip, port) = peer_of(socket_); }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) std::tie(ip, port) = name_of(address);
  }
  socket_t socket() const override { return socket_; }

 private:
  clock::time_point deadline() const {
    return begun_ + server_.limits_.request + milliseconds(1000 * received_ / server_.limits_.least_rate);
  }
  clock::time_point write_deadline() const {
    if (!unproven_) return clock::now() + server_.limits_.write;
    return answer_begun_.value_or(clock::now()) + server_.limits_.write +
           milliseconds(1000 * sent_ / server_.limits_.least_rate);
  }
  ssize_t written(ssize_t count) {
    sent_ += static_cast<size_t>(count);
    return count;
  }

  bool wait(short what, clock::time_point until) const {
    for (;;) {
      const auto left = std::chrono::ceil<milliseconds>(until - clock::now()).count();
      if (left < 0) return false;
      pollfd item{socket_, what, 0};
      const int ready = poll(&item, 1, static_cast<int>(left));
      if (ready < 0 && errno == EINTR) continue;
      return ready > 0;
    }
  }
  /// What a call of TLS (or a socket's, in its words) waits for. False: the connection has ended.
  bool wait_for(int why, clock::time_point until) const {
    if (why == SSL_ERROR_WANT_READ) return wait(POLLIN, until);
    if (why == SSL_ERROR_WANT_WRITE) return wait(POLLOUT, until);
    return false;
  }
  /// The same of a request, whose end at the deadline is told.
  bool await(int why, clock::time_point until) {
    if (wait_for(why, until)) return true;
    if (clock::now() >= until) refuse(kTooSlow);
    return false;
  }

  ssize_t fill() {
    for (;;) {
      if (clock::now() > deadline()) {  // however busy the peer is
        refuse(kTooSlow);
        return -1;
      }
      int why = 0;
      ssize_t count = 0;
      if (ssl_) {
        ERR_clear_error();
        count = SSL_read(ssl_.get(), buffer_, sizeof buffer_);
        why = count > 0 ? 0 : SSL_get_error(ssl_.get(), static_cast<int>(count));
        if (why == SSL_ERROR_ZERO_RETURN) return 0;
      } else {
        count = recv(socket_, buffer_, sizeof buffer_, 0);
        if (count == 0) return 0;
        if (count < 0 && errno == EINTR) continue;
        why = count > 0 ? 0 : errno == EAGAIN ? SSL_ERROR_WANT_READ : SSL_ERROR_SYSCALL;
      }
      if (count > 0) {
        next_ = 0;
        end_ = static_cast<size_t>(count);
        received_ += end_;
        return count;
      }
      if (!await(why, deadline())) return -1;
    }
  }

  /// Takes for a moment what has not been read of a request: a socket closed before that would take the answer back.
  void linger() {
    shutdown(socket_, SHUT_WR);
    const auto until = deadline();
    for (size_t taken = 0; taken < server_.limits_.body && clock::now() < until;) {
      const ssize_t count = recv(socket_, buffer_, sizeof buffer_, 0);
      if (count > 0) {
        taken += static_cast<size_t>(count);
      } else if (count == 0 || (errno != EAGAIN && errno != EINTR) ||
                 !wait(POLLIN, std::min(until, clock::now() + milliseconds(1000)))) {
        return;
      }
    }
  }

  ConnectionServer& server_;
  const socket_t socket_;
  const std::string address_;
  bool unproven_;
  std::shared_ptr<SSL_CTX> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  bool last_ = false;  // the answer is: the connection ends
  // Of this request:
  clock::time_point begun_ = clock::now();
  std::optional<clock::time_point> answer_begun_;
  size_t received_ = 0, sent_ = 0;
  size_t read_ = 0, most_ = 0;  // by the library
  bool in_head_ = true;         // its headers have not ended
  bool too_large_ = false, told_ = false;
  char buffer_[16 << 10];
  size_t next_ = 0, end_ = 0;  // of the buffer, what has not been read
};

// The library calls the handlers of a request in the thread that has its connection.
thread_local ConnectionServer::Connection* ConnectionServer::answered_ = nullptr;

ConnectionServer::ConnectionServer(std::shared_ptr<TlsContext> tls, ConnectionLimits limits, bool count_unproven,
                                   Refused refused)
    : tls_(std::move(tls)), limits_(limits), count_unproven_(count_unproven), refused_(std::move(refused)) {
  set_payload_max_length(limits_.body);
  // The library calls it for every answer, those that it makes itself too, before it writes anything.
  set_post_routing_handler([](const httplib::Request&, httplib::Response& response) {
    if (answered_ != nullptr) answered_->begin_answer(response);
  });
}

void ConnectionServer::head_ended() {
  if (answered_ != nullptr) answered_->head_ended();
}

void ConnectionServer::prove() {
  if (answered_ != nullptr) answered_->prove();
}

void ConnectionServer::refuse(const std::string& why) {
  if (answered_ != nullptr) answered_->refuse(why);
}

bool ConnectionServer::too_large() { return answered_ != nullptr && answered_->too_large(); }

bool ConnectionServer::process_and_close_socket(socket_t socket) {
  const std::string address = peer_of(socket).first;
  bool whole = false;
  if (count_unproven_ && !admit(address)) {
    if (refused_) refused_(address, kNoPlace);
  } else {
    Connection connection(*this, socket, address);
    if (connection.handshake(tls_)) {
      answered_ = &connection;
      for (size_t left = keep_alive_max_count_;
           left > 0 && connection.another(std::chrono::seconds(keep_alive_timeout_sec_)); --left) {
        bool closed = false;
        connection.begin_request();
        whole = process_request(connection, left == 1, closed, nullptr);
        if (!whole || closed || connection.last()) break;
      }
      answered_ = nullptr;
    }
  }
  shutdown(socket, SHUT_RDWR);
  close(socket);
  return whole;
}

bool ConnectionServer::admit(const std::string& address) {
  const std::lock_guard lock(mutex_);
  size_t& of_one = unproven_[address];
  if (of_one >= limits_.unproven_of_one || unproven_in_all_ >= limits_.unproven) {
    if (of_one == 0) unproven_.erase(address);
    return false;
  }
  ++of_one;
  ++unproven_in_all_;
  return true;
}

void ConnectionServer::release(const std::string& address) {
  const std::lock_guard lock(mutex_);
  const auto found = unproven_.find(address);
  --unproven_in_all_;
  if (--found->second == 0) unproven_.erase(found);
}

}  // namespace hivq
