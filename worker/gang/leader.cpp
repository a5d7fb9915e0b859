#include "worker/gang/leader.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>

namespace hivq {
namespace {

using std::chrono::milliseconds;

constexpr auto kTick = milliseconds(100);
constexpr Millis kAway = 5'000;         // unheard for so long, the coordinator counts as away
constexpr Millis kKnockAgain = 3'000;   // how often an absent one gets a heartbeat: ZeroMQ keeps them for its return
constexpr Millis kComplainAgain = 60'000;
constexpr size_t kCommandBytes = 64 << 20;  // what the main thread may be ahead of the protocol thread

}  // namespace

Result<std::unique_ptr<Leader>> Leader::start(LeaderOptions options, const Clock& clock, Log log) {
  Result<Dealer> dealer = Dealer::connect(options.coordinator, options.hello.gang, options.credentials);
  if (!dealer) return dealer.error();
  return std::unique_ptr<Leader>(new Leader(std::move(options), clock, std::move(log), std::move(*dealer)));
}

Leader::Leader(LeaderOptions options, const Clock& clock, Log log, Dealer dealer)
    : options_(std::move(options)),
      clock_(clock),
      log_(std::move(log)),
      dealer_(std::move(dealer)),
      session_(options_.hello, options_.session) {
  heard_ = clock_.now();
  thread_ = std::thread([this] {
    try {
      run();
    } catch (const std::exception& failure) {
      // Without heartbeats the gang is lost anyway; mpirun ends the other ranks.
      std::fprintf(stderr, "hivq-worker: the protocol thread of %s failed: %s\n", options_.hello.host.c_str(),
                   failure.what());
      _exit(1);
    }
  });
}

Leader::~Leader() { end_now({0, "it ended in order"}); }

// ---- The main thread's side ----

std::vector<Assignment> Leader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ending_ || !assignments_.empty(); });
  if (ending_) return {};
  return std::exchange(assignments_, {});
}

bool Leader::holds(const Lease& lease) const {
  std::lock_guard lock(mutex_);
  return !ending_ && leases_.contains(lease);
}

bool Leader::yields(const Lease& lease) const {
  std::lock_guard lock(mutex_);
  return yields_ && leases_.contains(lease);
}

std::string Leader::refusal() const {
  std::lock_guard lock(mutex_);
  return refusal_;
}

void Leader::report(const Lease& lease, Item item) {
  wait_for_room(lease);
  size_t bytes = 64;
  if (const auto* line = std::get_if<LogItem>(&item)) bytes = line->text.size();
  if (const auto* picture = std::get_if<PictureItem>(&item)) {
    bytes = picture->image.size() + picture->truth.size() + picture->map.size();
  }
  post(bytes, [lease, item = std::move(item)](GangSession& session, Millis now) { session.report(lease, item, now); });
}

void Leader::report_checkpoint(const Lease& lease, int64_t step, std::string bytes) {
  wait_for_room(lease);
  const size_t size = bytes.size();
  post(size, [lease, step, bytes = std::move(bytes)](GangSession& session, Millis now) {
    session.report_checkpoint(lease, step, bytes, now);
  });
}

void Leader::set_progress(const Lease& lease, int64_t step, int64_t total_steps, std::string phase) {
  post(0, [lease, step, total_steps, phase = std::move(phase)](GangSession& session, Millis) {
    session.set_progress(lease, step, total_steps, phase);
  });
}

void Leader::post(size_t bytes, Command command) {
  std::lock_guard lock(mutex_);
  if (gone_) return;
  commands_.push_back(std::move(command));
  command_bytes_ += bytes;
  dealer_.wake();
}

void Leader::wait_for_room(const Lease& lease) {
  std::unique_lock lock(mutex_);
  const auto room = [&] {
    return ending_ || !leases_.contains(lease) || (!session_full_ && command_bytes_ <= kCommandBytes);
  };
  if (room()) return;
  const bool full = session_full_;
  if (full) {
    lock.unlock();
    log_.warning("trial {} waits: the coordinator has not acknowledged what was reported, and the gang keeps no more",
                 to_string(lease.trial));
    lock.lock();
  }
  changed_.wait(lock, room);
}

void Leader::end(Ending ending) {
  std::lock_guard lock(mutex_);
  if (!ending_) ending_ = std::move(ending);
  if (!gone_) dealer_.wake();
  changed_.notify_all();
}

void Leader::end_now(Ending ending) {
  end(std::move(ending));
  if (thread_.joinable()) thread_.join();
}

std::optional<Ending> Leader::ending() const {
  std::lock_guard lock(mutex_);
  return ending_;
}

// ---- The protocol thread ----

void Leader::run() {
  for (std::optional<Ending> ending; !ending;) {
    receive(kTick);
    std::vector<Command> commands;
    {
      std::lock_guard lock(mutex_);
      commands = std::exchange(commands_, {});
      command_bytes_ = 0;
      ending = ending_;
    }
    for (const Command& command : commands) command(session_, clock_.now());
    session_.tick(clock_.now());
    if (ending) session_.goodbye(ending->reason);
    watch_coordinator(clock_.now());
    send(clock_.now());
    publish();
  }
  {
    std::lock_guard lock(mutex_);
    gone_ = true;
  }
  const Dealer leaving = std::move(dealer_);  // its destruction waits for what is on its way
}

void Leader::receive(milliseconds timeout) {
  // What has come in together is handled together.
  while (std::optional<std::string> bytes = dealer_.receive(timeout)) {
    timeout = milliseconds(0);
    take(*bytes);
  }
}

void Leader::take(const std::string& bytes) {
  const Result<Message> message = decode(bytes);
  const Millis now = clock_.now();
  heard_ = now;
  if (complained_) log_.info("the coordinator at {} answers again", options_.coordinator);
  if (!ever_heard_) log_.info("the coordinator at {} answers; waiting for trials", options_.coordinator);
  ever_heard_ = true;
  complained_ = false;
  next_complaint_ = 0;
  if (!message) {
    log_.warning("a message of the coordinator was dropped: {}", message.error().message);
    return;
  }
  session_.receive(*message, now);
  if (const auto* leave = std::get_if<Leave>(&message->body)) {
    end({0, leave->reason.empty() ? "the coordinator asked it to leave" : leave->reason});
  }
}

/// Complains of an absent coordinator, and in the end gives up on it.
void Leader::watch_coordinator(Millis now) {
  const Millis away = now - heard_;
  if (away > options_.patience) {
    const std::string for_how_long = fmt::format("for {} s (--patience)", options_.patience / 1000);
    end({1, ever_heard_ ? fmt::format("the coordinator at {} did not answer {}: is it still running?",
                                      options_.coordinator, for_how_long)
            : dealer_.trouble().empty()
                ? fmt::format("no coordinator answered at {} {}: start one (hivq-coordinator), or check the address",
                              options_.coordinator, for_how_long)
                : fmt::format("the coordinator at {} did not let it in {}: {}", options_.coordinator, for_how_long,
                              dealer_.trouble())});
    return;
  }
  if (away < kAway || now < next_complaint_) return;
  next_complaint_ = now + kComplainAgain;
  complained_ = true;
  if (const std::string& why = dealer_.trouble(); !why.empty()) {
    log_.warning("the coordinator at {} does not let the gang in: {}; trying on", options_.coordinator, why);
  } else if (ever_heard_) {
    log_.warning("the coordinator at {} has not answered for {} s; {}", options_.coordinator, away / 1000,
                 session_.busy() ? "training goes on and reports when it is back" : "waiting for its return");
  } else {
    log_.warning("no coordinator answers at {} yet; waiting", options_.coordinator);
    complained_ = false;  // its first answer says enough
  }
}

void Leader::send(Millis now) {
  const bool away = now - heard_ >= kAway;
  for (const Message& message : session_.take_outgoing()) {
    // An absent coordinator would get every repetition at its return. A heartbeat now and then is enough to meet it
    // again; the session repeats the rest.
    if (away && !std::holds_alternative<Goodbye>(message.body)) {
      if (!std::holds_alternative<Heartbeat>(message.body) || now - last_knock_ < kKnockAgain) continue;
      last_knock_ = now;
    }
    dealer_.send(encode(message));
  }
}

/// Lets the main thread see the session's state.
void Leader::publish() {
  {
    std::lock_guard lock(mutex_);
    if (std::vector<Assignment> pack = session_.take_assignments(); !pack.empty()) {
      assignments_ = std::move(pack);
      leases_.clear();
      for (const Assignment& assignment : assignments_) leases_.insert(assignment.lease);
    }
    std::erase_if(leases_, [&](const Lease& lease) { return !session_.holds(lease); });
    // Those that were refused before they were begun.
    std::erase_if(assignments_, [&](const Assignment& each) { return !session_.holds(each.lease); });
    yields_ = !leases_.empty() && session_.yields(*leases_.begin());
    session_full_ = session_.full();
    refusal_ = session_.refusal();
  }
  changed_.notify_all();
}

}  // namespace hivq
