#include "jobs/doctor/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/ids.h"
#include "jobs/cli/interrupt.h"
#include "jobs/client.h"
#include "jobs/views/format.h"

namespace hivq::doctor {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int questions = 5;  // that the round trip is the quickest of
// The coordinator's clock is SQLite's; julianday is in days since noon of 4714 BC, 2440587.5 at the Unix epoch.
constexpr const char* version_question =
    "SELECT hivq_version(), CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)";
constexpr double most_skew = 2;  // seconds

}  // namespace

// ---- Ports ----

Check check_port(const Port& port) {
  Check check{fmt::format("port {}", port.number), Verdict::ok, "free", ""};
  if (port.holder == Holder::coordinator) check.found = "a coordinator of hivq has it";
  if (port.holder == Holder::other) {
    check.verdict = Verdict::problem;
    check.found = "another program has it: a coordinator with its default addresses cannot start";
    check.remedy = fmt::format("hivq-coordinator {} {} (ss -ltnp 'sport = :{}' tells whose it is)", port.flag,
                               port.value, port.number);
  }
  return check;
}

// ---- The coordinator ----

Millis certainly_ahead(Millis theirs, Millis before, Millis after) {
  if (theirs > after) return theirs - after;
  if (theirs < before) return theirs - before;
  return 0;
}

std::optional<Answered> ask_coordinator(const std::string& endpoint, std::chrono::milliseconds limit,
                                        const std::optional<Credentials>& credentials) {
  ClientOptions options;
  options.credentials = credentials;
  options.interrupted = [] { return cli::interrupted() != 0; };
  auto client = Client::connect(endpoint, std::move(options));
  if (!client) return std::nullopt;
  Answered answered;
  answered.round_trip = 1e9;
  const auto end = SteadyClock::now() + limit;
  for (int i = 0; i < questions; ++i) {
    const auto begin = SteadyClock::now();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - begin);
    if (left.count() <= 0) break;
    const auto gangs = client->try_ask<GangList>(QueryGangs{}, left);
    if (!gangs || !*gangs) return i == 0 ? std::nullopt : std::optional(answered);
    answered.round_trip =
        std::min(answered.round_trip, std::chrono::duration<double>(SteadyClock::now() - begin).count());
    answered.gangs = answered.ranks = 0;
    for (const GangView& gang : (*gangs)->gangs) {
      if (!gang.connected) continue;
      ++answered.gangs;
      answered.ranks += gang.ranks;
    }
  }
  const Millis before = wall_clock();
  const auto told = client->try_ask<SqlAnswer>(QuerySql{random_id(), version_question, 0}, limit);
  const Millis after = wall_clock();
  if (!told || !*told || (*told)->rows.size() != 1 || (*told)->rows[0].size() != 2) return answered;
  if (const auto* text = std::get_if<std::string>(&(*told)->rows[0][0])) answered.version = *text;
  if (const auto* theirs = std::get_if<int64_t>(&(*told)->rows[0][1])) {
    answered.ahead = static_cast<double>(certainly_ahead(*theirs, before, after)) / 1e3;
  }
  return answered;
}

Check check_coordinator(const Coordinator& coordinator, const std::string& own_version) {
  Check check{"coordinator", Verdict::ok, "", ""};
  if (!coordinator.answer) {
    check.found = "none runs; hivq run starts one";
    if (!coordinator.named) return check;
    check.verdict = Verdict::problem;
    check.found = fmt::format("none answers at {}", coordinator.endpoint);
    check.remedy = "start it there (hivq-coordinator --listen …), or see whether a firewall is between";
    return check;
  }
  const Answered& answer = *coordinator.answer;
  check.found = fmt::format(
      "{} answers in {:.1f} ms, {}", coordinator.endpoint, 1e3 * answer.round_trip,
      answer.gangs == 0 ? std::string("no gang")
                        : fmt::format("{} of {}", count_text(answer.gangs, "gang"), count_text(answer.ranks, "rank")));
  if (answer.version != own_version) {
    check.verdict = Verdict::warning;
    check.found += answer.version.empty()
                       ? fmt::format("; it is older than this hivq, {}", own_version)
                       : fmt::format("; it is version {}, this hivq {}", answer.version, own_version);
    check.remedy = "start it again from the same build; its jobs go on";
  } else if (answer.gangs == 0) {
    check.found += fmt::format(" (mpirun -np 2 hivq-worker --coordinator {} starts one)", coordinator.endpoint);
  }
  return check;
}

std::optional<Check> check_clock(const Answered& answer) {
  if (!answer.ahead) return std::nullopt;
  const double off = std::abs(*answer.ahead);
  Check check{"clock", Verdict::ok, "the coordinator's is ours", ""};
  if (off == 0) return check;
  check.found = fmt::format("the coordinator's is {} {} ours", duration_text(static_cast<Millis>(off * 1e3)),
                            *answer.ahead > 0 ? "ahead of" : "behind");
  if (off <= most_skew) return check;
  check.verdict = Verdict::warning;
  check.found += ": times that are shown here are wrong by it";
  check.remedy = "let both machines keep the time: timedatectl set-ntp true";
  return check;
}

Check check_dashboard(const std::string& address, bool healthy) {
  if (healthy) return {"dashboard", Verdict::ok, address, ""};
  return {"dashboard", Verdict::problem, fmt::format("{} does not answer, though its coordinator lives", address),
          "start the coordinator again; its log tells more"};
}

}  // namespace hivq::doctor
