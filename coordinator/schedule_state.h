#pragma once

// For the scheduler's own files: what it knows, and how that is indexed.
//
// Trials that wait lie in the queue of their job and need. Jobs of one priority and need form a lane; in a lane,
// projects stand by their share, in a project its users by theirs, and of a user the oldest job is first: the head of a
// lane is found at once. Idle gangs lie with their kind, and each need has the kinds that fit it and have an idle gang.

#include <algorithm>
#include <tuple>

#include "coordinator/schedule.h"

namespace hivq {

struct Scheduler::State {
  struct Lane;

  /// Ranks of a project, or of a user in it.
  struct Account {
    std::string project, user;
    bool whole = false;  // of the project
    double weight = 1;
    uint64_t running = 0;  // ranks
    double mean = 0;       // average ranks at `at`, see mean_at()
    Millis at = 0;
    double share = 0;            // of its weight, as it was weighed last: orders the accounts
    std::set<Lane*> lanes = {};  // where it waits
  };
  /// What a quota is of.
  struct Quota {
    uint64_t running = 0, most = 0;  // ranks; 0: no limit
    /// What may still run, where `change` ranks more ran than do.
    uint64_t room(int64_t change = 0) const {
      if (most == 0) return UINT64_MAX;
      const int64_t used = static_cast<int64_t>(running) + change;
      return most - std::min(most, static_cast<uint64_t>(std::max<int64_t>(0, used)));
    }
  };
  struct Project {
    Account account;
    Quota quota;
  };
  struct User {
    std::string name;
    Quota quota;  // over all projects
  };
  struct Member {
    Account account;
    Project* project = nullptr;
    User* user = nullptr;
  };

  /// Accounts by their share, the least first; of equal ones that with the oldest job.
  class Ranking {
   public:
    using Key = std::tuple<double, JobId, Account*>;
    void put(Account& account, JobId oldest);
    void erase(Account& account);
    const std::set<Key>& order() const { return order_; }

   private:
    std::set<Key> order_;
    std::map<Account*, Key> keys_;
  };
  /// A project in a lane.
  struct Branch {
    Ranking members;
    std::map<Account*, std::pair<Member*, std::set<JobId>>> jobs;
    std::set<JobId> all;
  };

  struct KindState {
    Kind kind;
    uint64_t gangs = 0;
    std::set<GangId> idle;
    // What runs and may be taken away: by priority, the lowest first, whose it is, and when it began.
    std::map<int64_t, std::map<Member*, std::set<std::pair<Millis, GangId>>>> running;
  };
  using KindKey = std::tuple<uint64_t, size_t, Labels>;  // the smallest and plainest first
  struct NeedState {
    Need need;
    uint64_t lanes = 0;
    std::map<KindKey, KindState*> fitting, idle;  // kinds that there are; of these those with an idle gang
    uint64_t idle_gangs = 0;
  };

  struct LaneKey {
    int64_t priority = 0;
    Need need;
    bool operator<(const LaneKey& other) const {
      return priority != other.priority ? priority > other.priority : need < other.need;
    }
  };
  struct Lane {
    LaneKey key;
    NeedState* need = nullptr;
    Ranking projects;
    std::map<Account*, Branch> branches;
    uint64_t trials = 0;
    Millis since = 0;  // when it began to wait
    Millis turn = 0;   // when it had a gang last, or began to wait
  };
  using Lanes = std::map<LaneKey, Lane>;

  /// The trials of a job that wait for gangs of one need.
  struct Queue {
    std::map<uint64_t, const Fusion*> trials;         // by age; nullptr: trains alone
    std::map<Fusion, std::set<uint64_t>> companions;  // of those that may train with others
    double packs = 0;                                 // that they are, each as large as it may be

    void add(uint64_t trial, const Fusion& fusion);
    bool remove(uint64_t trial);
    /// The oldest trial, and with it a share of its companions where `gangs` are idle.
    std::vector<uint64_t> take(uint64_t gangs);
  };
  struct Job {
    Terms terms;
    Member* member = nullptr;
    std::map<Need, Queue> queues;  // none is empty
  };

  struct Run {
    Terms terms;
    Member* member = nullptr;
    Millis started = 0;
    bool yielding = false;
  };
  struct Gang {
    KindState* kind = nullptr;
    bool idle = false;
    std::optional<Run> run;
  };

  /// A gang that could have a pack now.
  struct Choice {
    const Lane* lane = nullptr;
    Member* member = nullptr;
    JobId job = 0;
    KindState* kind = nullptr;

    /// The order within a priority.
    auto rank() const { return std::tuple(member->project->account.share, member->account.share, job); }
  };

  // ---- schedule.cpp ----

  explicit State(Policy given) : policy(std::move(given)) {}

  Project& project_of(const std::string& name);
  Member& member_of(const std::string& project, const std::string& user);
  NeedState& need_of(const Need& need);
  KindState& kind_of(const Kind& kind);
  Lane& lane_of(const LaneKey& key, Millis now);
  void put_kind(NeedState& need, KindState& kind);
  void drop_kind_if_unused(KindState& kind);
  void drop_lane(Lane& lane);

  void enlist(Lane& lane, Member& member, JobId job);
  void strike_off(Lane& lane, Member& member, JobId job);
  void taken(Job& job, const Need& need, uint64_t trials);
  void set_idle(const GangId& id, Gang& gang, bool idle);
  void put_run(const GangId& id, Gang& gang, Run run);
  void end_run(const GangId& id, Gang& gang, Millis now);
  void index_run(const GangId& id, Gang& gang, bool there);

  std::optional<Choice> candidate(const Lane& lane) const;
  std::optional<Choice> best(Lanes::const_iterator first, Lanes::const_iterator last, Millis now) const;
  Placement take(const Choice& choice, Millis now);

  // ---- fair_share.cpp ----

  /// Ranks on average up to now: those of a time ago count half after each half-life.
  double mean_at(const Account& account, Millis now) const;
  /// Shares are those at the begin of a period, so that they follow from what is stored, whenever anybody asks.
  static Millis period_of(Millis now);
  double share_at(const Account& account, Millis now) const;
  void charge(Member& member, int64_t ranks, Millis now);
  void charge(Account& account, int64_t ranks, Millis now);
  void reweigh(Account& account, Millis now);
  void refresh(Millis now);
  static uint64_t room(const Member& member) {
    return std::min(member.project->quota.room(), member.user->quota.room());
  }

  Policy policy;
  std::map<std::string, Project> projects;
  std::map<std::string, User> users;
  std::map<std::pair<std::string, std::string>, Member> members;  // by project and user
  std::map<Need, NeedState> needs;                                // that have lanes
  std::map<KindKey, KindState> kinds;                             // that have gangs
  Lanes lanes;                                                    // none is empty
  std::map<JobId, Job> jobs;                                      // with trials that wait
  std::map<GangId, Gang> gangs;
  std::set<GangId> yielding;
  std::set<Account*> touched;  // whose usage is to be kept
  uint64_t waiting = 0;
  bool changed = true;   // since nothing could be placed
  Millis refreshed = 0;  // begin of the period whose shares order all accounts that wait
};

}  // namespace hivq
