#include "tests/coordinator/simulation.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <set>

#include "common/sha256.h"
#include "coordinator/garbage.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"
#include "tests/coordinator/invariants.h"
#include "tests/coordinator/virtual_program.h"

namespace hivq {

namespace {

/// Numbers for one purpose; what is drawn for one changes nothing for others.
class Random {
 public:
  explicit Random(uint64_t seed, const std::string& purpose = "") {
    std::vector<uint32_t> words{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    words.insert(words.end(), purpose.begin(), purpose.end());
    std::seed_seq sequence(words.begin(), words.end());
    engine_.seed(sequence);
  }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }
  template <typename T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[between(0, static_cast<int64_t>(values.size()) - 1)];
  }
  uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

/// How much goes wrong until the faults stop; drawn from the seed, so that some runs are calm and some wild.
struct Faults {
  double loss, repetition, delay;  // of a message
  double crash;                    // at a commit boundary
  double death, pause, farewell;   // of some gang, each second
  double slow_disk, failed_launch;
};

struct Client {
  std::string identity, key, yaml, user;
  JobId job = 0;            // once it is acknowledged
  std::deque<Body> wishes;  // for the job, one after another
  uint64_t request = 1;     // that is waited for
};

/// Who drains gangs and hosts, and lets them go on.
struct Operator {
  std::deque<SetDrained> wishes;  // one after another
  std::set<std::string> drained;
  uint64_t request = 1;
};

struct Member {
  std::unique_ptr<VirtualGang> gang;
  Millis paused_until = 0;
  std::vector<std::string> socket;  // what came in while it was paused
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options), random_(options.seed), script_{options.seed}, checks_(script_, streams_) {
    // Two in three seeds have faults of every kind, the others of some kinds.
    auto level = [&](double low, double high) { return random_.one_of({0.0, low, high}); };
    faults_ = {level(0.02, 0.15), level(0.02, 0.1), level(0.05, 0.3),  level(0.003, 0.02), level(0.02, 0.05),
               level(0.02, 0.08), level(0.0, 0.02), level(0.01, 0.05), level(0.1, 0.3)};
    Pool local;
    local.maximum = random_.chance(0.4) ? static_cast<uint64_t>(random_.between(1, 2)) : 0;
    local.default_ranks = 2;
    core_options_.pools = {local};
    if (random("pools").chance(0.6)) draw_pools();
    core_options_.longest_retry = 8000;
    core_options_.ended_job = [this](JobId job) { return read_ended_job(store_, job); };
    core_options_.ended_trial = [this](const TrialId& trial) { return read_ended_trial(store_, trial); };
    core_options_.study_timeout = 30'000;
    quiet_after_ = start_ + 1000 * random_.between(20, 90);
    Policy policy = draw_policy();
    if (options_.crowded) {
      faults_ = {};
      core_options_.pools.clear();
      quiet_after_ = start_ + 30'000;
      script_.times_longer = 8;
    }
    checks_.rules(policy, options_.crowded ? 20'000 : 0);
    if (options_.bug == Bug::ignores_quotas) policy.users = policy.projects = {};
    if (options_.bug == Bug::never_preempts) policy.preempt = false;
    core_options_.policy = policy;
    pools_ = core_options_.pools;
    for (Pool& pool : core_options_.pools) {
      if (options_.bug == Bug::ignores_maximum) pool.maximum += 2;
      if (options_.bug == Bug::never_shrinks) pool.idle = 0;
    }
  }

  SimulationResult run() {
    try {
      if (options_.faults) {
        for (const auto& fault : *options_.faults) decisions_[fault.what].due.push_back(fault);
      }
      set_up();
      while (!over()) {
        check(!events_.empty(), "the simulation has nothing to do");
        Event event = events_.top();
        events_.pop();
        now_ = event.at;
        event.run();
      }
      checks_.at_the_end(store_);
      keep_promises();
    } catch (const Violation& violation) {
      result_.violation = violation.what();
    }
    summarize();
    return result_;
  }

 private:
  struct Event {
    Millis at;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const { return std::tie(at, order) > std::tie(other.at, other.order); }
  };

  void after(Millis delay, std::function<void()> run) { events_.push({now_ + delay, ++order_, std::move(run)}); }
  bool faulty() const { return now_ < quiet_after_; }

  Random& random(const std::string& purpose) {
    return streams_of_random_.try_emplace(purpose, options_.seed, purpose).first->second;
  }

  /// Whether this goes wrong now. The draw is made even where SimulationOptions decide.
  bool happens(double probability, const std::string& fault) {
    if (!faulty()) return false;
    const bool drawn = random(fault).chance(probability);
    Decisions& decisions = decisions_[fault];
    decisions.number = decisions.at == now_ ? decisions.number + 1 : 0;
    decisions.at = now_;
    SimulationFault now{now_ - start_, decisions.number, fault};
    if (options_.faults) {
      if (decisions.due.empty() || now < decisions.due.front()) return false;
      now = decisions.due.front();
      decisions.due.pop_front();
    } else if (!drawn) {
      return false;
    }
    note("fault: {}", fault);
    result_.faults.insert(std::move(now));
    return true;
  }

  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    if (!options_.trace) return;
    result_.trace.push_back(fmt::format("{:8.3f} s  ", static_cast<double>(now_ - start_) / 1000) +
                            fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- The world ----

  /// Quotas leave room for the largest gang.
  Policy draw_policy() {
    Policy policy;
    policy.half_life = random_.one_of<Millis>({5000, 60'000});
    policy.reserve_after = random_.one_of<Millis>({2000, 20'000});
    policy.preempt_after = random_.one_of<Millis>({0, 2000});
    policy.min_run = random_.one_of<Millis>({0, 2000});
    if (random_.chance(0.3)) policy.users["ada"] = {2, static_cast<uint64_t>(random_.between(2, 3))};
    if (random_.chance(0.3)) policy.projects["x"] = {1, static_cast<uint64_t>(random_.between(2, 4))};
    return policy;
  }

  /// One fits every trial: where it is there, jobs end without gangs that are started by hand.
  void draw_pools() {
    Random& drawn = random("pools");
    for (const char* name : {"y", "x"}) {
      if (name == std::string("y") && drawn.chance(0.5)) continue;
      Pool pool;
      pool.name = name;
      pool.ranks = name == std::string("x") ? 0 : drawn.one_of<uint64_t>({0, 1, 2});
      pool.default_ranks = drawn.one_of<uint64_t>({1, 2});
      pool.minimum = drawn.one_of<uint64_t>({0, 0, 1});
      pool.maximum = static_cast<uint64_t>(drawn.between(1, 3));
      pool.idle = 1000 * drawn.between(3, 20);
      pool.stays = drawn.chance(0.5);
      pool.returns = pool.stays && drawn.chance(0.7);
      pool.start_within = drawn.one_of<Millis>({0, 30'000});
      core_options_.pools.push_back(pool);
    }
    pools_alone_ = drawn.chance(0.5);
  }

  const Pool& pool_named(const std::string& name) const {
    return *std::find_if(pools_.begin(), pools_.end(), [&](const Pool& pool) { return pool.name == name; });
  }
  uint64_t launches_of(const std::string& pool) const {
    return static_cast<uint64_t>(std::count_if(launches_.begin(), launches_.end(),
                                               [&](const auto& launch) { return launch.second.launch.pool == pool; }));
  }

  /// 8: what is wrong with the pools once all jobs have ended; empty: nothing.
  std::string pools_at_rest() const {
    if (options_.crowded) return "";
    for (const Pool& pool : pools_) {
      const uint64_t gangs = launches_of(pool.name), known = core_->gangs_of(pool.name);
      if (gangs != known)
        return fmt::format("8: pool {} has {} gangs, and the coordinator knows {}", pool.name, gangs, known);
      if (pool.idle > 0 && gangs != pool.minimum) {
        return fmt::format("8: pool {} has {} gangs with nothing to do, and {} at least", pool.name, gangs,
                           pool.minimum);
      }
    }
    return "";
  }

  /// What a job's file says of its place in the queue.
  std::string draw_terms(int64_t j) {
    std::string text = fmt::format("project: {}\n", random_.one_of({"x", "y"}));
    const int64_t priority = options_.crowded ? std::min<int64_t>(j, 1) : random_.one_of<int64_t>({0, 0, 0, 2, -1});
    text += fmt::format("priority: {}\nretry_seconds: {}\n", priority, random_.one_of({0, 1, 3}));
    if (options_.crowded) return text;
    if (random_.chance(0.15)) text += fmt::format("max_trial_seconds: {}\n", random_.one_of({3, 6, 60}));
    if (random_.chance(0.1)) text += fmt::format("max_job_seconds: {}\n", random_.one_of({10, 60}));
    if (j > 0 && random_.chance(0.3)) text += comes_later;
    if (random_.chance(0.5)) text += "after_any: true\n";
    return text;
  }

  Labels draw_labels() { return random("gangs").chance(0.4) ? Labels{{"pool", "x"}} : Labels{}; }

  void set_up() {
    now_ = start_;
    int64_t jobs = options_.crowded ? 2 : random_.between(1, 3);
    for (int64_t j = 0; j < jobs; ++j) {
      Client client;
      client.identity = fmt::format("client-{}", j);
      client.key = fmt::format("key-{}", j);
      ranks_.insert(options_.crowded ? 0 : random_.one_of<uint64_t>({0, 0, 1, 2}));
      std::string seeds;
      int64_t trials = random_.between(1, 6) * options_.scale;
      for (int64_t i = 0; i < trials; ++i) seeds += fmt::format("{}{}", i == 0 ? "" : ", ", 100 * j + i);
      const std::string search = options_.crowded ? "" : sweep_that_learns(j, trials);
      client.yaml = fmt::format(
          "name: job-{}\n{}max_attempts: {}\nretention: {{last: {}, best: {}}}\n"
          "gang:\n  ranks: {}\n  fuse: {}\n{}{}"
          "{}",
          j, draw_terms(j), random_.one_of({2, 5, 100, 100}), random_.one_of({1, 1, 2}), random_.one_of({0, 1, 2}),
          *std::next(ranks_.begin(), random_.between(0, ranks_.size() - 1)), random_.one_of({1, 1, 2, 3, 8}),
          random_.chance(0.2) && !options_.crowded ? "  labels: {pool: x}\n" : "",
          random_.chance(0.3) ? warm_start : "",
          !search.empty() ? search
                          : fmt::format("sweep:\n  search: grid\n  parameters:\n    train.seed: [{}]\n{}", seeds,
                                        random_.chance(0.2) ? "    model.layers: [1, 2]\n" : ""));
      client.user = random_.one_of({"ada", "bob"});
      for (int64_t pauses = options_.crowded ? 0 : random_.one_of({0, 0, 1, 2}); pauses > 0; --pauses) {
        client.wishes.push_back(SetPaused{fmt::format("pause-{}-{}", j, pauses), 0, true});
        client.wishes.push_back(SetPaused{fmt::format("resume-{}-{}", j, pauses), 0, false});
      }
      if (random_.chance(0.15)) client.wishes.push_back(Cancel{});
      if (j % 4 == 1 && !options_.crowded)
        client.wishes.push_front(SetPriority{fmt::format("priority-{}", j), 0, int64_t(j % 3) - 1});
      clients_.push_back(std::move(client));
    }
    for (size_t j = 0; j < clients_.size(); ++j) after(random_.between(0, 20'000), [this, j] { ask(j, 1); });
    if (!options_.crowded && random("studies").chance(0.5)) set_up_study();
    int64_t gangs = options_.crowded ? random_.between(1, 2) : random_.between(1, 4) * options_.scale;
    for (int64_t i = 0; i < gangs; ++i) add_gang(options_.crowded ? 2 : random_.one_of<uint64_t>({1, 2}), "");
    after(1000, [this] { strike(); });
    start_coordinator();
  }

  /// A study, and the programs that run its trials.
  void set_up_study() {
    Random& drawn = random("studies");
    Client client;
    client.identity = "client-of-study";
    client.key = "any";
    client.yaml = fmt::format(
        "name: study\n{}study:\n  search: {}\n  trials: {}\n  seed: {}\n  metric: auroc\n  goal: maximize\n  startup: "
        "2\n"
        "  population: 4\n  stop: {{by: {}, min_epochs: 2, reduction: 2, startup: 2}}\n{}",
        drawn.chance(0.1) ? "max_trial_seconds: 6\n" : "", drawn.one_of({"tpe", "tpe", "random", "sobol", "cma-es"}),
        drawn.between(2, 10) * options_.scale, drawn.between(0, 99), drawn.one_of({"none", "asha", "median"}),
        drawn.chance(0.3) ? "  parameters:\n    a: [p, q, 1]\n" : "");
    client.user = "ada";
    if (drawn.chance(0.3)) {
      client.wishes.push_back(SetPaused{"pause-study", 0, true});
      client.wishes.push_back(SetPaused{"resume-study", 0, false});
    }
    if (drawn.chance(0.15)) client.wishes.push_back(Cancel{});
    clients_.push_back(std::move(client));
    after(drawn.between(0, 20'000), [this, j = clients_.size() - 1] { ask(j, 1); });
    for (int64_t p = drawn.between(1, 4); p > 0; --p) {
      programs_.emplace_back(fmt::format("program-{}", p), script_, promises_);
      run_program(programs_.size() - 1, 1);
    }
  }

  /// Asks until the answer to this request is there.
  void run_program(size_t p, uint64_t request) {
    VirtualProgram& program = programs_[p];
    if (program.request() != request) return;
    if (const JobId study = clients_.back().job; study != 0) {
      const auto question = program.question(study);
      if (!question) return;
      to_coordinator(program.identity(), encode({request, *question}));
    }
    after(random(program.identity()).between(1000, 5000), [this, p, request] { run_program(p, request); });
  }

  void answer_program(size_t p, const Message& message) {
    VirtualProgram& program = programs_[p];
    const uint64_t before = program.request();
    if (const std::string broken = program.receive(message); !broken.empty()) throw Violation(broken);
    if (program.request() == before) return;
    after(random(program.identity()).between(10, 900),
          [this, p, request = program.request()] { run_program(p, request); });
  }

  void keep_promises() const {
    if (const std::string broken = promises_.broken(store_); !broken.empty()) throw Violation(broken);
  }

  /// The sweep of a job whose searcher learns; empty: this job has none.
  std::string sweep_that_learns(int64_t j, int64_t trials) {
    if (!random_.chance(0.5)) return "";
    const std::string search = random_.one_of<std::string>({"tpe", "tpe", "cma-es", "bohb", "pbt"});
    std::string stop = random_.one_of<std::string>({"none", "asha", "median"});
    if (search == "bohb") stop = "hyperband";
    if (search == "pbt") stop = "none";
    return fmt::format(
        "sweep:\n  search: {}\n  trials: {}\n  seed: {}\n  startup: 2\n  population: {}\n{}"
        "  stop: {{by: {}, min_epochs: 10, reduction: 2, startup: 2}}\n  parameters:\n"
        "    train.lr: {{log_uniform: [1e-5, 1e-2]}}\n    eval.score: [max, mean]\n"
        "    eval.pot: {{uniform: [0, 100], step: 10, when: {{eval.score: max}}}}\n",
        search, search == "pbt" ? (trials + 1) / 2 * 2 : 2 * trials, 100 + j, search == "pbt" ? 2 : 4,
        j > 0 && random_.chance(0.3) ? "  warm_start: [1]\n" : "", stop);
  }

  bool over() {
    bool done = std::all_of(clients_.begin(), clients_.end(), [](const Client& c) { return c.job != 0; }) &&
                core_ != nullptr && core_->all_jobs_ended() && !faulty();
    const std::string unrest = done ? pools_at_rest() : "";
    done = done && unrest.empty();
    if (!done) {
      const bool late = now_ > quiet_after_ + patience * options_.scale;
      if (late && !unrest.empty()) throw Violation(unrest);
      if (now_ > quiet_after_ + patience * options_.scale * (options_.crowded ? 10 : 1)) {
        throw Violation(
            fmt::format("5: {} s after the faults stopped a job has not ended", patience / 1000 * options_.scale));
      }
      quiet_since_ = now_;
    }
    return now_ > quiet_since_ + 5000 && !committing_;
  }

  GangId add_gang(uint64_t ranks, const std::string& launch, const Labels& labels = {}) {
    Random& drawn = random("gangs");
    Hello hello;
    hello.gang = fmt::format("{:016x}", drawn.bits());
    hello.host = fmt::format("host-{}", drawn.between(0, 2));
    hello.labels = draw_labels();
    if (!launch.empty()) hello.labels = labels;
    hello.ranks = ranks;
    hello.launch = launch;
    Member member;
    member.gang = std::make_unique<VirtualGang>(hello, script_, drawn.between(100, 900), streams_, options_.bug);
    members_.emplace(hello.gang, std::move(member));
    after(drawn.between(0, 100), [this, id = hello.gang] { tick_gang(id); });
    return hello.gang;
  }

  void tick_gang(const GangId& id) {
    auto found = members_.find(id);
    if (found == members_.end()) return;
    Member& member = found->second;
    if (now_ >= member.paused_until) {
      for (const auto& bytes : std::exchange(member.socket, {})) member.gang->receive(decode(bytes).value(), now_);
      member.gang->tick(now_);
      if (!member.gang->complaint().empty()) throw Violation("1: " + member.gang->complaint());
      send_all(id, member);
      if (member.gang->session().leaving()) return farewell(id);
    }
    after(100, [this, id] { tick_gang(id); });
  }

  void send_all(const GangId& id, Member& member) {
    for (const auto& message : member.gang->take_outgoing()) to_coordinator(id, encode(message));
  }

  void farewell(const GangId& id) {
    Member& member = members_.at(id);
    member.gang->goodbye();
    send_all(id, member);
    kill_gang(id, "exit code 0");
  }

  void kill_gang(const GangId& id, const std::string& reason) {
    auto node = members_.extract(id);
    if (node.empty()) return;
    ++result_.lost_gangs;
    const std::string& launch = node.mapped().gang->hello().launch;
    const auto found = launches_.find(launch);
    if (found == launches_.end() || found->second.gang != id) return;
    found->second.gang.clear();
    if (reason == "signal 9" && pool_named(found->second.launch.pool).returns &&
        happens(0.5, "an engine puts a gang back")) {
      ++result_.requeued;
      return queue(launch);
    }
    after(random("launches").between(10, 500), [this, launch, reason] { end_launch(launch, reason); });
  }

  /// Once a second something may happen to some gang.
  void strike() {
    if (!faulty()) return calm();
    after(1000, [this] { strike(); });
    if (options_.crowded) return;
    if (happens(0.05, "a gang or a host is drained")) drain_something();
    if (!programs_.empty() && happens(0.05, "a program dies")) {
      ++result_.dead_programs;
      const auto p = static_cast<size_t>(random("programs").between(0, static_cast<int64_t>(programs_.size()) - 1));
      programs_[p].die();
      after(random("programs").between(0, 40'000),
            [this, p, request = programs_[p].request()] { run_program(p, request); });
    }
    const std::string second = fmt::format("second {}", (now_ - start_) / 1000);
    Random& drawn = random(second);
    if (members_.empty()) {
      if (drawn.chance(0.2)) add_gang(drawn.one_of<uint64_t>({1, 2}), "");
      return;
    }
    GangId id = std::next(members_.begin(), drawn.between(0, members_.size() - 1))->first;
    if (happens(faults_.death, "a gang dies")) {
      uint64_t ranks = members_.at(id).gang->hello().ranks;
      kill_gang(id, "signal 9");
      after(drawn.between(0, 20'000), [this, ranks] { add_gang(ranks, ""); });
    } else if (happens(faults_.pause, "a gang stands still")) {
      ++result_.paused_gangs;
      members_.at(id).paused_until = now_ + drawn.between(3000, 40'000);  // up to far beyond the coordinator's patience
    } else if (happens(faults_.farewell, "a gang says goodbye")) {
      farewell(id);
    }
  }

  /// The faults stop: whatever a job needs is there from now on.
  void calm() {
    for (const auto& target : std::exchange(operator_.drained, {})) wish_drained(target, false, false);
    if (options_.crowded || pools_alone_) return;
    for (uint64_t ranks : {1, 2}) members_.at(add_gang(ranks, "")).gang->set_labels({{"pool", "x"}});
  }

  // ---- The operator ----

  void drain_something() {
    std::string target = fmt::format("host:host-{}", random("operator").between(0, 2));
    if (!members_.empty() && random("operator").chance(0.5))
      target = std::next(members_.begin(), random("operator").between(0, members_.size() - 1))->first;
    operator_.drained.insert(target);
    wish_drained(target, true, random("operator").chance(0.3));
    if (random("operator").chance(0.5)) wish_drained(target, false, false);
  }

  void wish_drained(const std::string& target, bool drained, bool to_the_end) {
    operator_.wishes.push_back({fmt::format("drain-{}", random("operator").bits()), target, drained, to_the_end});
    if (operator_.wishes.size() == 1) ask_operator(operator_.request);
  }

  void ask_operator(uint64_t request) {
    if (operator_.request != request || operator_.wishes.empty()) return;
    to_coordinator("operator", encode({request, operator_.wishes.front()}));
    after(random("operator").between(1000, 3000), [this, request] { ask_operator(request); });
  }

  void answer_operator(const Message& message) {
    if (message.id != operator_.request) return;
    result_.drains += std::holds_alternative<DrainSet>(message.body);
    operator_.wishes.pop_front();
    ask_operator(++operator_.request);
  }

  // ---- The network ----

  /// How often a message arrives, and when.
  void deliver(const std::string& channel, std::function<void()> arrive) {
    const bool lost = happens(faults_.loss, "lost " + channel);
    const int copies = lost ? 0 : happens(faults_.repetition, "twice " + channel) ? 2 : 1;
    result_.lost_messages += copies == 0;
    result_.repeated_messages += copies == 2;
    for (int i = 0; i < copies; ++i) {
      const bool late = happens(faults_.delay, "late " + channel);
      after(late ? random(channel).between(0, 8000) : random(channel).between(1, 20), arrive);
    }
  }

  void to_coordinator(const std::string& identity, std::string bytes) {
    deliver("from " + identity, [this, identity, bytes = std::move(bytes)] {
      if (core_) inbox_.push_back(Received{identity, decode(bytes).value()});
    });
  }

  void from_coordinator(const Send& send) {
    checks_.let_out(send, store_);
    if (auto* assign = std::get_if<Assign>(&send.message.body)) {
      for (const Part& part : assign->parts) {
        if (assign->parts.size() > 1) packs_.insert(part.lease.epoch);
        if (part.warm) warm_.insert(part.lease.trial);
      }
    }
    deliver("to " + send.identity, [this, identity = send.identity, bytes = encode(send.message)] {
      if (auto member = members_.find(identity); member != members_.end()) {
        member->second.socket.push_back(bytes);
        return;
      }
      if (identity == "operator") return answer_operator(decode(bytes).value());
      for (size_t p = 0; p < programs_.size(); ++p) {
        if (programs_[p].identity() == identity) return answer_program(p, decode(bytes).value());
      }
      for (auto& client : clients_) {
        if (client.identity == identity) answer(client, decode(bytes).value());
      }
    });
  }

  // ---- Clients ----

  /// Asks until the answer to this request is there.
  void ask(size_t j, uint64_t request) {
    Client& client = clients_[j];
    if (client.request != request) return;
    Body body = Submit{client.key, client.key + ".yaml", client.yaml, client.user};
    if (client.job != 0) {
      if (client.wishes.empty()) return;
      body = client.wishes.front();
      if (auto* cancel = std::get_if<Cancel>(&body)) cancel->job = client.job;
      if (auto* wish = std::get_if<SetPaused>(&body)) wish->job = client.job;
      if (auto* wish = std::get_if<SetPriority>(&body)) wish->job = client.job;
    }
    to_coordinator(client.identity, encode({request, body}));
    after(random(client.identity).between(1000, 5000), [this, j, request] { ask(j, request); });
  }

  void answer(Client& client, const Message& message) {
    auto* submitted = std::get_if<Submitted>(&message.body);
    if (submitted && client.job != 0 && client.job != submitted->job) {
      throw Violation("1: one submission became two jobs");
    }
    if (message.id != client.request) return;  // to an earlier one
    auto* failed = std::get_if<Failed>(&message.body);
    auto* paused = std::get_if<PausedSet>(&message.body);
    if (submitted) {
      client.job = submitted->job;
    } else if (failed && client.job == 0 && failed->reason.find("sweep.warm_start") != failed->reason.npos) {
      client.yaml.erase(client.yaml.find("  warm_start: [1]\n"), std::string("  warm_start: [1]\n").size());
    } else if (failed && client.job == 0 && failed->reason.find("start_from") != failed->reason.npos) {
      client.yaml.erase(client.yaml.find(warm_start), std::string(warm_start).size());
    } else if (failed && client.job == 0 && failed->reason.find("after names") != failed->reason.npos) {
      client.yaml.erase(client.yaml.find(comes_later), std::string(comes_later).size());
    } else if (std::holds_alternative<Cancelled>(message.body) || paused ||
               std::holds_alternative<PrioritySet>(message.body) ||
               (failed && failed->reason.find("has ended") != failed->reason.npos)) {
      if (paused && std::get<SetPaused>(client.wishes.front()).paused) ++result_.pauses;
      client.wishes.pop_front();
    } else {
      throw Violation(fmt::format("5: {} was answered with {}", client.identity, encode(message)));
    }
    size_t j = static_cast<size_t>(&client - clients_.data());
    after(random(client.identity).between(0, 15'000), [this, j, request = ++client.request] { ask(j, request); });
  }

  // ---- The coordinator's shell ----

  void start_coordinator() {
    auto snapshot = read_snapshot(store_).value();
    if (options_.bug == Bug::forgets_pauses) {
      for (auto& job : snapshot.jobs) job.paused = false;
    }
    if (options_.bug == Bug::forgets_drains) snapshot.drains.clear();
    if (options_.bug == Bug::draws_anew) {
      for (auto& job : snapshot.jobs) {
        if (job.name == "study" && !ended(job.state)) job.yaml.replace(job.yaml.find("seed: "), 6, "seed: 1");
      }
    }
    for (auto& job : snapshot.jobs) {
      if (options_.bug == Bug::forgets_order) forget(job.yaml, comes_later);
      if (options_.bug != Bug::forgets_limits) continue;
      for (int limit : {3, 6, 60}) forget(job.yaml, fmt::format("max_trial_seconds: {}\n", limit));
    }
    if (options_.bug == Bug::proposes_anew) {
      const std::string seeds = "train.seed: [";
      for (auto& job : snapshot.jobs) {
        const size_t at = job.yaml.find(seeds);
        if (at == job.yaml.npos) continue;
        const size_t first = at + seeds.size();
        if (!job.yaml.substr(first).starts_with("77")) job.yaml.insert(first, "77, ");
      }
    }
    if (options_.bug == Bug::forgets_results) {
      for (auto& trial : snapshot.trials) {
        if (ended(trial.state)) trial.final.clear();
      }
    }
    inbox_.clear();
    if (options_.bug == Bug::forgets_launches) snapshot.launches.clear();
    for (const auto& launch : snapshot.launches) {
      // One that was never asked for, and one that ended meanwhile, is noticed; one whose handle was lost is found.
      const auto found = launches_.find(launch.id);
      if (found == launches_.end()) {
        result_.lost_launches += launch.handle.empty();
        inbox_.push_back(LaunchEnded{launch.id, "gone", launch.handle.empty()});
        continue;
      }
      if (launch.handle.empty()) inbox_.push_back(LaunchStarted{launch.id, "pid:1000:1"});
      if (found->second.queued) inbox_.push_back(LaunchWaits{launch.id, true, "others are before it"});
    }
    checks_.after_start(store_);
    keep_promises();
    Effects effects;
    core_ = std::make_unique<Core>(
        core_options_, std::move(snapshot), [this](const TrialId& id) { return read_checkpoints(store_, id); }, now_,
        effects);
    checks_.after_step(LaunchStarted{}, effects, *core_, now_);
    compare_proposals();
    commit(std::move(effects));
  }

  void round(uint64_t life) {
    if (life != life_) return;
    Effects effects;
    for (int64_t left = random("rounds").between(1, 12); left > 0 && !inbox_.empty(); --left) {
      Input input = std::move(inbox_.front());
      inbox_.pop_front();
      step(std::move(input), effects);
    }
    if (now_ >= next_tick_) {
      next_tick_ = now_ + 200;
      step(Tick{}, effects);
    }
    commit(std::move(effects));
  }

  void step(Input input, Effects& round) {
    Effects effects;
    Input original = input;
    if (auto* received = std::get_if<Received>(&input)) {
      if (is_question(*received)) return questions_.push_back(*received);
      if (options_.bug == Bug::takes_old_epochs || options_.bug == Bug::stores_repeats) make_new(*received);
      auto* told = std::get_if<ReportTrial>(&received->message.body);
      if (told && options_.bug == Bug::drops_points) told->points.clear();
      auto* beat = std::get_if<Heartbeat>(&received->message.body);
      auto* hello = std::get_if<Hello>(&received->message.body);
      if (options_.bug == Bug::ignores_labels && hello) hello->labels = {{"pool", "x"}};
      if (options_.bug == Bug::deaf_to_idle_gangs && beat && beat->trials.empty()) input = Tick{};
    }
    core_->step(input, now_, effects);
    checks_.after_step(original, effects, *core_, now_);
    for (const auto& line : effects.log) {
      note("{}", line);
      result_.preemptions += line.find("a higher priority waits") != line.npos;
      result_.overdue += line.find("max_trial_seconds") != line.npos || line.find("max_job_seconds") != line.npos;
      result_.silent += line.find("its client was silent") != line.npos;
      result_.retries += line.find("waits for another gang in") != line.npos;
      result_.later_jobs += line.find("what it comes after has ended") != line.npos;
      result_.shrunk += line.find(" shrinks: ") != line.npos || line.find("is not needed any more") != line.npos;
    }
    auto append = [](auto& to, auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(round.writes, effects.writes);
    append(round.sends, effects.sends);
    append(round.launches, effects.launches);
    append(round.stops, effects.stops);
  }

  static void forget(std::string& yaml, const std::string& line) {
    if (size_t at = yaml.find(line); at != yaml.npos) yaml.erase(at, line.size());
  }

  static bool is_question(const Received& received) {
    return std::holds_alternative<FetchChunk>(received.message.body);
  }

  /// Two planted bugs: an old report passes for the next one of the newest lease.
  void make_new(Received& received) {
    auto* report = std::get_if<Report>(&received.message.body);
    if (!report || !store_.rows(Family::leases).contains(key_of(report->lease.trial))) return;
    auto newest = store_.row<LeaseRow>(Family::leases, key_of(report->lease.trial));
    bool same_lease = newest.lease == report->lease;
    if (!newest.live || same_lease != (options_.bug == Bug::stores_repeats)) return;
    if (same_lease && report->first > newest.last) return;
    report->lease = newest.lease;
    report->first = newest.last + 1;
    received.identity = newest.gang;
  }

  void commit(Effects effects) {
    committing_ = true;
    if (happens(faults_.crash, "the coordinator dies before a commit")) {
      if (options_.bug == Bug::answers_before_commit) {
        for (const auto& send : effects.sends) from_coordinator(send);
      }
      return crash();  // before the commit
    }
    const bool slow = happens(faults_.slow_disk, "the disk is slow");
    const Millis disk = slow ? random("disk").between(100, 15'000) : random("disk").between(0, 5);
    after(disk, [this, effects = std::move(effects), life = life_] { let_out(effects, life); });
  }

  void let_out(const Effects& effects, uint64_t life) {
    if (life != life_) return;
    ++result_.commits;
    store_.commit(effects.writes);
    checks_.after_commit(store_);
    clean_up();
    if (random("comparisons").chance(0.2 / static_cast<double>(options_.scale * options_.scale))) compare_proposals();
    // A crash right after the commit, or in the middle of the answers.
    const bool dies = happens(faults_.crash, "the coordinator dies while it answers");
    const size_t crash_after = dies ? random("answers").between(0, effects.sends.size()) : SIZE_MAX;
    for (size_t i = 0; i < std::min(crash_after, effects.sends.size()); ++i) from_coordinator(effects.sends[i]);
    if (crash_after != SIZE_MAX) return crash();
    for (const auto& launch : effects.launches) start_launch(launch);
    for (const auto& launch : effects.stops) stop_launch(launch);
    for (const auto& [identity, message] : std::exchange(questions_, {})) {
      const auto& hash = std::get<FetchChunk>(message.body).hash;
      auto found = store_.rows(Family::blobs).find(hash);
      if (found == store_.rows(Family::blobs).end()) {
        from_coordinator({identity, {0, Chunk{hash, "", "it is not stored"}}});
      } else {
        from_coordinator({identity, {0, Chunk{hash, found->second, ""}}});
      }
    }
    committing_ = false;
    after(inbox_.empty() ? 50 : 1, [this, life] { round(life); });
  }

  /// As the shell does it, between two rounds; now and then whatever its age.
  void clean_up() {
    const auto grace = random("garbage").one_of<Millis>({0, 5000, 60'000});
    auto garbage = collect_garbage(store_, ChunkReaders(0), now_, grace).value();
    if (options_.bug == Bug::collects_what_is_named) {
      for (const auto& [chunk, since] : store_.rows(Family::garbage)) garbage.push_back({Family::blobs, chunk, {}});
    }
    result_.collected += garbage.size();
    store_.commit(garbage);
    checks_.chunks_are_there(store_);
  }

  /// 3: what the searchers propose next is what they would after a restart.
  void compare_proposals() {
    Effects ignored;
    const Core restarted(
        core_options_, read_snapshot(store_).value(),
        [this](const TrialId& id) { return read_checkpoints(store_, id); }, now_, ignored);
    for (const Client& client : clients_) {
      const std::string now = core_->next_proposal(client.job);
      if (now.empty() && restarted.next_proposal(client.job).empty()) continue;
      ++result_.compared;
      if (now == restarted.next_proposal(client.job)) continue;
      throw Violation(fmt::format("3: job {} would go on with {}, but after a restart with {}", client.job, now,
                                  restarted.next_proposal(client.job)));
    }
  }

  void crash() {
    ++result_.crashes;
    ++life_;
    core_.reset();
    inbox_.clear();
    questions_.clear();
    after(random("commit").one_of<Millis>({50, 2000, 20'000}), [this] { start_coordinator(); });
  }

  // ---- The launcher ----

  void start_launch(const Launch& launch) {
    ++result_.launched;
    launches_[launch.launch].launch = launch;
    if (const uint64_t gangs = launches_of(launch.pool); gangs > pool_named(launch.pool).maximum) {
      throw Violation(
          fmt::format("8: pool {} has {} gangs, {} at most", launch.pool, gangs, pool_named(launch.pool).maximum));
    }
    // Engines answer later; the coordinator may have died by then.
    const Millis later = random("launches").one_of<Millis>({0, 0, 500, 3000});
    after(later, [this, id = launch.launch] { tell_core(id, LaunchStarted{id, "pid:1000:1"}); });
    if (happens(faults_.failed_launch, "a launch fails")) {
      after(random("launches").between(10, 2000), [this, id = launch.launch] { end_launch(id, "exit code 1"); });
    } else if (launch.pool != Pool().name && happens(0.2, "a launch is queued")) {
      queue(launch.launch);
    } else {
      begin_launch(launch.launch, random("launches").between(100, 5000));
    }
  }

  template <typename Event>
  void tell_core(const std::string& launch, Event event) {
    if (core_ && launches_.contains(launch)) inbox_.push_back(std::move(event));
  }

  /// In its engine's queue.
  void queue(const std::string& launch) {
    ++result_.queued;
    launches_.at(launch).queued = true;
    const Millis seen = random("launches").between(0, 3000), turn = random("launches").between(500, 40'000);
    after(seen, [this, launch] {
      const auto found = launches_.find(launch);
      if (found != launches_.end() && found->second.queued)
        tell_core(launch, LaunchWaits{launch, true, "others are before it"});
    });
    after(turn, [this, launch] {
      const auto found = launches_.find(launch);
      if (found == launches_.end() || !found->second.queued) return;
      found->second.queued = false;
      tell_core(launch, LaunchWaits{launch, false, ""});
      begin_launch(launch, random("launches").between(100, 5000));
    });
  }

  void begin_launch(const std::string& launch, Millis later) {
    after(later, [this, launch] {
      const auto found = launches_.find(launch);
      if (found == launches_.end() || !found->second.gang.empty()) return;
      found->second.gang =
          add_gang(found->second.launch.ranks, launch, gang_labels(pool_named(found->second.launch.pool)));
    });
  }

  void stop_launch(const std::string& launch) {
    auto found = launches_.find(launch);
    if (found == launches_.end()) return;
    const GangId gang = found->second.gang;
    if (!gang.empty() && members_.contains(gang)) {
      found->second.gang.clear();  // its engine does not put it back
      kill_gang(gang, "signal 15");
    }
    after(random("launches").between(10, 500), [this, launch] { end_launch(launch, "signal 15"); });
  }

  void end_launch(const std::string& launch, const std::string& reason) {
    const auto found = launches_.find(launch);
    if (found == launches_.end()) return;
    const GangId gang = found->second.gang;
    launches_.erase(found);
    kill_gang(gang, reason);
    if (core_) inbox_.push_back(LaunchEnded{launch, reason});
  }

  // ---- The end ----

  void summarize() {
    std::string all;
    for (size_t family = 0; family < family_count; ++family) {
      for (const auto& [key, value] : store_.rows(static_cast<Family>(family))) all += key + value;
    }
    result_.store = sha256_hex(all);
    for (const auto& [key, value] : store_.rows(Family::trials)) {
      auto trial = unpack<TrialRow>(value).value();
      result_.attempts += trial.attempts;
      result_.study_trials += trial.params.contains("x");
      result_.finished += trial.state == State::finished;
      result_.failed += trial.state == State::failed;
      result_.cancelled += trial.state == State::cancelled;
      result_.stopped += trial.stopped;
      result_.learning += trial.params.contains("train.lr");
    }
    (void)visit_points(store_, "", [&](const auto&, auto, const auto& points) {
      result_.points += points.size();
      return true;
    });
    result_.packs = packs_.size();
    result_.warm_starts = warm_.size();
    for (const auto& [lease, items] : streams_) {
      result_.yields += !items.empty() && std::holds_alternative<YieldItem>(items.back());
    }
    result_.virtual_seconds = static_cast<double>(now_ - start_) / 1000;
  }

  static constexpr Millis start_ = 1'700'000'000'000;
  static constexpr Millis patience = 300'000;
  static constexpr const char* comes_later = "after: [1]\n";
  static constexpr const char* warm_start = "train:\n  start_from: 1/0\n";

  SimulationOptions options_;
  Random random_;  // of the world before it begins
  std::map<std::string, Random> streams_of_random_;
  struct Decisions {
    Millis at = 0;
    uint64_t number = 0;  // of those at this moment
    std::deque<SimulationFault> due;
  };
  std::map<std::string, Decisions> decisions_;
  Script script_;
  Streams streams_;
  Invariants checks_;
  Faults faults_;
  CoreOptions core_options_;
  SimulationResult result_;

  Millis now_ = start_, quiet_after_ = 0, quiet_since_ = 0;
  uint64_t order_ = 0;
  std::priority_queue<Event> events_;
  std::map<GangId, Member> members_;
  std::multiset<uint64_t> ranks_;
  std::vector<Client> clients_;
  Operator operator_;
  Promises promises_;
  std::deque<VirtualProgram> programs_;  // of the study, whose client is the last one
  std::set<uint64_t> packs_;             // epochs of those with several trials
  std::set<TrialId> warm_;
  struct VirtualLaunch {
    Launch launch;
    GangId gang;  // once it is there
    bool queued = false;
  };
  std::map<std::string, VirtualLaunch> launches_;  // that have not ended
  std::vector<Pool> pools_;
  bool pools_alone_ = false;  // no gang is started by hand once the faults stop

  MapStore store_;
  std::unique_ptr<Core> core_;
  std::deque<Input> inbox_;
  std::vector<Received> questions_;
  bool committing_ = false;
  uint64_t life_ = 0;
  Millis next_tick_ = 0;
};

}  // namespace

SimulationResult simulate(const SimulationOptions& options) { return Simulation(options).run(); }

}  // namespace hivq
