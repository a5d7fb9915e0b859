// The simulation at the size that hivq is meant for: the real core and real gang sessions, ten thousand gangs and a
// million trials of several users, projects, priorities, labels and quotas, under faults. What the small simulation
// checks after every step for a handful of trials is checked here as it changes, or now and then.
//   HIVQ_SIM_GANGS=10000 HIVQ_SIM_TRIALS=1000000 test_coordinator --gtest_filter='Scale.*'
// prints time, memory and the longest step; without them it is small.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <unordered_map>

#include "common/gang_session.h"
#include "common/sha256.h"
#include "coordinator/snapshot.h"
#include "tests/coordinator/map_store.h"

namespace hivq {
namespace {

using WallClock = std::chrono::steady_clock;

uint64_t number_of(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

double seconds_since(WallClock::time_point begin) {
  return std::chrono::duration<double>(WallClock::now() - begin).count();
}

double peak_gigabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1e6;
}

constexpr Millis tick = 2000;  // of a gang: a heartbeat, and a step of its trials
constexpr const char* weights = "the weights";

/// A gang whose trials take one to three ticks.
class Worker {
 public:
  Worker(const Hello& hello, uint64_t seed) : hello_(hello), session_(hello), random_(seed) {}

  const Hello& hello() const { return hello_; }
  void receive(const Message& message, Millis now) { session_.receive(message, now); }
  void work(Millis now) {
    std::erase_if(left_, [&](const auto& entry) { return !session_.holds(entry.first); });
    for (const auto& assignment : session_.take_assignments())
      left_[assignment.lease] = 1 + static_cast<int>(random_() % 3);
    for (auto& [lease, left] : left_) {
      if (left < 0) continue;  // it waits for the last acknowledgement
      if (session_.yields(lease)) {
        session_.report_checkpoint(lease, 4 - left, weights, now);
        session_.report(lease, YieldItem{}, now);
        left = -1;
      } else if (left-- > 0) {
        session_.report(lease, MetricsItem{3 - left, {{"auroc", 0.5}}}, now);
      } else {
        session_.report(lease, EndItem{random_() % 100 == 0, "not finite", {{"auroc", 0.5}}}, now);
      }
    }
    session_.tick(now);
  }
  std::vector<Message> take_outgoing() { return session_.take_outgoing(); }

 private:
  Hello hello_;
  GangSession session_;
  std::mt19937_64 random_;
  std::map<Lease, int> left_;
};

/// What only counts is not kept: a million trials' points would be the store's test.
class KeptRows : public MapStore {
 public:
  void commit(const std::vector<Write>& writes) {
    std::vector<Write> kept;
    for (const Write& write : writes) {
      points += write.family == Family::points;
      if (write.family == Family::points || write.family == Family::logs || write.family == Family::events) continue;
      kept.push_back(write);
    }
    MapStore::commit(kept);
  }
  uint64_t points = 0;
};

class Cluster {
 public:
  Cluster(uint64_t gangs, uint64_t trials) : trials_(trials) {
    options_.policy = parse_policy(
                          "min_run_seconds: 4\npreempt_seconds: 4\nhalf_life_hours: 0.1\n"
                          "projects: {p0: {weight: 3}}\nusers: {limited: {max_ranks: 8}}\n",
                          "policy.yaml")
                          .value();
    options_.longest_retry = 8000;
    start();
    for (uint64_t i = 0; i < gangs; ++i) add_gang();
    submit_all();
    at(1000, [this] { strike(); });
  }

  void run() {
    const auto begin = WallClock::now();
    while (!events_.empty() && !(ended_ >= trials_ && core_ && core_->all_jobs_ended())) {
      Event event = events_.top();
      events_.pop();
      now_ = event.at;
      event.run();
      ASSERT_LT(now_ - start_, 40'000'000) << "the jobs do not end";
      if (testing::Test::HasFatalFailure()) return;
    }
    wall_ = seconds_since(begin);
    check_the_end();
  }

  std::string summary() const {
    return fmt::format(
        "{} trials ended on {} gangs in {:.0f} virtual and {:.0f} real seconds: {} steps of the core ({:.0f}/s, the "
        "longest {:.1f} ms), {} leases, {} given back, {} gangs lost, {} messages lost, {} repeated; {} crashes, the "
        "longest restart {:.1f} s; {} checks for idle gangs; at most {:.2f} GB",
        ended_, members_.size(), static_cast<double>(now_ - start_) / 1000, wall_, steps_,
        static_cast<double>(steps_) / step_seconds_, longest_step_ * 1000, leases_, given_back_, lost_gangs_,
        lost_messages_, repeated_, crashes_, longest_restart_, checks_, peak_gigabytes());
  }
  uint64_t given_back() const { return given_back_; }
  uint64_t crashes() const { return crashes_; }

 private:
  struct Event {
    Millis at;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const { return std::tie(at, order) > std::tie(other.at, other.order); }
  };
  void at(Millis delay, std::function<void()> run) { events_.push({now_ + delay, ++order_, std::move(run)}); }
  bool chance(double probability) { return static_cast<double>(random_() >> 11) * 0x1p-53 < probability; }
  bool faulty() const { return ended_ * 10 < trials_ * 9; }

  // ---- The world ----

  void submit_all() {
    constexpr uint64_t most = 50'000;
    const uint64_t of_job = std::min(most, std::max<uint64_t>(1, trials_ / 20));
    uint64_t left = trials_;
    for (uint64_t j = 0; left > 0; ++j) {
      const uint64_t trials = std::min(left, of_job);
      left -= trials;
      const bool limited = j == 3;
      std::string yaml = fmt::format(
          "name: job\nproject: p{}\npriority: {}\nmax_attempts: 100\nretry_seconds: 1\nmax_trial_seconds: 3000\n"
          "gang: {{ranks: {}, fuse: {}, labels: {{{}}}}}\nsweep: {{search: random, trials: {}, parameters: "
          "{{train.lr: {{log_uniform: [1e-5, 1e-2]}}}}}}\n",
          j % 4, j % 7 == 6 ? 2 : 0, limited ? 1 : j % 3, j % 5 == 4 ? 4 : 1,
          limited      ? "only: limited"
          : j % 4 == 1 ? "pool: x"
                       : "",
          limited ? trials / 50 + 1 : trials);
      if (limited) left += trials - (trials / 50 + 1);
      if (j == 5) yaml += "after: [1]\nafter_any: true\n";
      at(static_cast<Millis>(j) * 2000, [this, j, yaml, limited] {
        submit({fmt::format("key {}", j), "scale.yaml", yaml, limited ? "limited" : fmt::format("user {}", j % 9)});
      });
    }
  }
  /// Until it is acknowledged, as clients do.
  void submit(const Submit& body) {
    if (submitted_.contains(body.key)) return;
    if (core_) inbox_.push_back(Received{body.key, {1, body}});
    at(3000, [this, body] { submit(body); });
  }

  void add_gang() {
    Hello hello;
    hello.gang = fmt::format("{:016x}", random_());
    hello.host = fmt::format("host-{}", random_() % 100);
    hello.ranks = 1 + random_() % 2;
    if (random_() % 3 == 0) hello.labels["pool"] = "x";
    if (random_() % 50 == 0) hello.labels["only"] = "limited";
    members_.emplace(hello.gang, std::make_unique<Worker>(hello, random_()));
    at(static_cast<Millis>(random_() % tick), [this, id = hello.gang] { work(id); });
  }
  void work(const GangId& id) {
    auto found = members_.find(id);
    if (found == members_.end()) return;
    found->second->work(now_);
    for (auto& message : found->second->take_outgoing()) {
      deliver([this, id, message = std::make_shared<Message>(std::move(message))] {
        if (core_) inbox_.push_back(Received{id, *message});
      });
    }
    at(tick, [this, id] { work(id); });
  }

  void deliver(const std::function<void()>& arrive) {
    const int copies = faulty() && chance(0.01) ? 0 : faulty() && chance(0.01) ? 2 : 1;
    lost_messages_ += copies == 0;
    repeated_ += copies == 2;
    for (int i = 0; i < copies; ++i) at(faulty() && chance(0.02) ? random_() % 5000 : 1 + random_() % 20, arrive);
  }

  void strike() {
    at(1000, [this] { strike(); });
    if (!faulty()) {
      for (const auto& target : std::exchange(drained_, {}))
        inbox_.push_back(Received{"operator", {1, SetDrained{"", target, false, false}}});
      return;
    }
    for (uint64_t deaths = members_.size() / 2000 + chance(0.3); deaths > 0; --deaths) {
      ++lost_gangs_;
      members_.erase(
          std::next(members_.begin(), static_cast<std::ptrdiff_t>(random_() % std::min<size_t>(100, members_.size()))));
      at(random_() % 10'000, [this] { add_gang(); });
    }
    if (chance(0.05) && core_) {
      const std::string target = fmt::format("host:host-{}", random_() % 100);
      drained_.insert(target);
      inbox_.push_back(Received{"operator", {1, SetDrained{"", target, true, false}}});
    }
    if (crashes_ < 3 && ended_ > (crashes_ + 1) * trials_ / 5) crash_next_ = true;
  }

  // ---- The coordinator's shell ----

  void start() {
    const auto begin = WallClock::now();
    Effects effects;
    core_ = std::make_unique<Core>(
        options_, read_snapshot(store_).value(), [this](const TrialId& id) { return read_checkpoints(store_, id); },
        now_, effects);
    longest_restart_ = std::max(longest_restart_, seconds_since(begin));
    let_out(std::move(effects));
    at(10, [this, life = life_] { round(life); });
  }

  void round(uint64_t life) {
    if (life != life_) return;
    Effects effects;
    std::deque<Input> inputs = std::exchange(inbox_, {});
    if (now_ >= next_tick_) {
      inputs.emplace_back(Tick{});
      next_tick_ = now_ + 200;
    }
    for (const Input& input : inputs) {
      const auto* said = std::get_if<Received>(&input);
      if (const auto* fetch = said ? std::get_if<FetchChunk>(&said->message.body) : nullptr) {
        fetches_.push_back({said->identity, fetch->hash});
        continue;
      }
      const auto begin = WallClock::now();
      core_->step(input, now_, effects);
      const double time = seconds_since(begin);
      step_seconds_ += time;
      ++steps_;
      const bool submission = said != nullptr && std::holds_alternative<Submit>(said->message.body);
      if (!submission) longest_step_ = std::max(longest_step_, time);
    }
    if (++rounds_ % 200 == 0) nobody_waits_in_vain();
    if (crash_next_) return crash();  // before the commit
    let_out(std::move(effects));
    at(10, [this, life] { round(life); });
  }

  void crash() {
    crash_next_ = false;
    ++crashes_;
    ++life_;
    core_.reset();
    inbox_.clear();
    fetches_.clear();
    at(5000, [this] { start(); });
  }

  void let_out(Effects effects) {
    for (const Write& write : effects.writes) note(write);
    for (const auto& line : effects.log) given_back_ += line.find("was given back") != line.npos;
    store_.commit(effects.writes);
    for (auto& message : effects.sends) {
      if (std::holds_alternative<Submitted>(message.message.body)) submitted_.insert(message.identity);
      if (auto* failed = std::get_if<Failed>(&message.message.body)) ADD_FAILURE() << failed->reason;
      send(std::move(message));
    }
    for (const auto& [identity, hash] : std::exchange(fetches_, {})) {
      auto found = store_.rows(Family::blobs).find(hash);
      Chunk chunk{hash, "", "it is not stored"};
      if (found != store_.rows(Family::blobs).end()) chunk = {hash, found->second, ""};
      send({identity, {0, std::move(chunk)}});
    }
  }

  void send(Send message) {
    deliver([this, shared = std::make_shared<Send>(std::move(message))] {
      auto member = members_.find(shared->identity);
      if (member != members_.end()) member->second->receive(shared->message, now_);
    });
  }

  // ---- Checks ----

  /// A trial has one live lease at most, its epochs grow, and quotas are kept.
  void note(const Write& write) {
    if (write.family == Family::leases) {
      const auto row = unpack<LeaseRow>(*write.value).value();
      auto [known, fresh] = leased_.try_emplace(write.key);
      Holding& holding = known->second;
      if (row.lease.epoch < holding.epoch) ADD_FAILURE() << "an older lease of " << to_string(row.lease.trial);
      if (row.live && holding.live && row.lease.epoch != holding.epoch) {
        ADD_FAILURE() << to_string(row.lease.trial) << " was leased twice";
      }
      leases_ += row.live && !holding.live;
      holding = {row.lease.epoch, row.live};
      limit(row);
    } else if (write.family == Family::trials) {
      const auto row = unpack<TrialRow>(*write.value).value();
      ended_ += ended(row.state);
    } else if (write.family == Family::jobs) {
      const auto row = unpack<JobRow>(*write.value).value();
      if (row.user == "limited") limited_jobs_.insert(row.id);
    }
  }
  /// Jobs of the limited user take gangs of one or two ranks; two are never within what is left of the last.
  void limit(const LeaseRow& row) {
    if (!limited_jobs_.contains(row.lease.trial.job)) return;
    if (!row.live) return void(limited_.erase(row.lease));
    limited_.insert(row.lease);
    if (limited_.size() > 8) ADD_FAILURE() << limited_.size() << " gangs run for a quota of 8 ranks";
  }

  /// Who has no quota waits only where no idle gang fits.
  void nobody_waits_in_vain() {
    ++checks_;
    const auto idle = core_->scheduler().idle_gangs();
    if (idle.empty()) return;
    for (const Demand& demand : core_->scheduler().demands()) {
      if (demand.need.labels.contains("only")) continue;
      for (const GangId& id : idle) {
        const Hello& hello = core_->gangs().at(id).hello;
        ASSERT_FALSE(fits(demand.need, {hello.ranks, hello.labels})) << "a trial waits although " << id << " is idle";
      }
    }
  }

  void check_the_end() {
    uint64_t trials = 0;
    (void)store_.scan(Family::jobs, "", [&](auto, std::string_view value) {
      const auto job = unpack<JobRow>(value).value();
      EXPECT_TRUE(ended(job.state)) << job.id;
      EXPECT_EQ(job.finished + job.failed + job.cancelled, job.trials);
      trials += job.trials;
      return true;
    });
    EXPECT_EQ(trials, trials_);
    EXPECT_EQ(ended_, trials_);
    EXPECT_GE(store_.points, trials_ / 2);
  }

  struct Holding {
    uint64_t epoch = 0;
    bool live = false;
  };

  uint64_t trials_;
  CoreOptions options_;
  std::mt19937_64 random_{11};
  static constexpr Millis start_ = 1'700'000'000'000;
  Millis now_ = start_, next_tick_ = 0;
  uint64_t order_ = 0, life_ = 0, rounds_ = 0;
  std::priority_queue<Event> events_;
  std::map<GangId, std::unique_ptr<Worker>> members_;
  std::set<std::string> drained_, submitted_;
  KeptRows store_;
  std::unique_ptr<Core> core_;
  std::deque<Input> inbox_;
  std::vector<std::pair<GangId, std::string>> fetches_;
  bool crash_next_ = false;

  std::unordered_map<std::string, Holding> leased_;
  std::set<JobId> limited_jobs_;
  std::set<Lease> limited_;
  uint64_t ended_ = 0, leases_ = 0, given_back_ = 0, lost_gangs_ = 0, lost_messages_ = 0, repeated_ = 0, crashes_ = 0;
  uint64_t steps_ = 0, checks_ = 0;
  double wall_ = 0, step_seconds_ = 0, longest_step_ = 0, longest_restart_ = 0;
};

TEST(Scale, ManyGangsAndTrialsUnderFaultsComeToTheirEnd) {
  Cluster cluster(number_of("HIVQ_SIM_GANGS", 200), number_of("HIVQ_SIM_TRIALS", 4000));
  cluster.run();
  fmt::print("{}\n", cluster.summary());
  EXPECT_EQ(cluster.crashes(), 3u);
  EXPECT_GT(cluster.given_back(), 10u);
}

}  // namespace
}  // namespace hivq
