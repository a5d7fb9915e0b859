#pragma once

// The default ports, and the coordinator that commands would talk to.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/keys.h"
#include "jobs/doctor/check.h"

namespace hivq::doctor {

/// Who holds one of the default ports.
enum class Holder { nobody, coordinator, other };
struct Port {
  uint16_t number = 0;
  std::string flag;   // of hivq-coordinator, that chooses another: --listen, --http
  std::string value;  // such as tcp://127.0.0.1:4497
  Holder holder = Holder::nobody;
};
Check check_port(const Port& port);

/// What a coordinator said.
struct Answered {
  std::string version;            // empty: it is too old to tell
  uint64_t gangs = 0, ranks = 0;  // connected
  double round_trip = 0;          // seconds; the quickest of several
  std::optional<double> ahead;    // seconds of its clock before ours, as far as it is certain: 0 within the round trip
};
/// Errors as nothing: nobody answers in time. Asks several times.
std::optional<Answered> ask_coordinator(const std::string& endpoint, std::chrono::milliseconds limit,
                                        const std::optional<Credentials>& credentials = std::nullopt);
/// How far a clock that was read between two readings of ours is ahead: 0 where it may be right. Milliseconds.
Millis certainly_ahead(Millis theirs, Millis before, Millis after);

struct Coordinator {
  std::string endpoint;
  bool named = false;  // by --coordinator or HIVQ_COORDINATOR: it must be there
  std::optional<Answered> answer;
};
Check check_coordinator(const Coordinator& coordinator, const std::string& own_version);
/// Nothing where it did not tell the time.
std::optional<Check> check_clock(const Answered& answer);
/// `healthy`: /healthz answered as it should.
Check check_dashboard(const std::string& address, bool healthy);

}  // namespace hivq::doctor
