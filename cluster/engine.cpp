#include "cluster/engine.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "cluster/gang_command.h"
#include "common/ids.h"

namespace hivq {

namespace {

using clock = std::chrono::steady_clock;
using Phase = EngineState::Phase;
constexpr auto cancel_again = std::chrono::seconds(10);
constexpr auto complain_again = std::chrono::minutes(5);
constexpr auto one_breath = std::chrono::milliseconds(20);  // what is asked for within it may go together

class EngineLauncher final : public Launcher {
 public:
  EngineLauncher(std::unique_ptr<Engine> engine, Pool pool, EngineTimes times, const Log& log,
                 std::shared_ptr<std::atomic<bool>> ending)
      : engine_(std::move(engine)), pool_(std::move(pool)), times_(times), log_(log), ending_(std::move(ending)) {
    thread_ = std::thread([this] { run(); });
  }
  ~EngineLauncher() override { close(); }

  void launch(const LaunchRequest& request) override { ask(request); }
  void adopt(const Launched& launched) override { ask(launched); }
  void stop(const std::string& launch) override { ask(Stop{launch}); }

  std::vector<LaunchEvent> poll() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

  /// Its gangs outlive the coordinator; what was not asked for yet is found missing by the next one.
  void close() override {
    *ending_ = true;
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Stop {
    std::string launch;
  };
  using Action = std::variant<LaunchRequest, Launched, Stop>;
  struct Watched {
    Launched launched;
    clock::time_point since;  // asked for, or adopted
    std::optional<EngineState> last;
    std::optional<clock::time_point> cancelled;  // last
    bool stop = false;
  };

  void ask(Action action) {
    {
      const std::lock_guard lock(mutex_);
      actions_.push_back(std::move(action));
    }
    wake_.notify_all();
  }
  void tell(LaunchEvent event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }

  // ---- The thread ----

  void run() {
    auto next_look = clock::now();
    while (!*ending_) {
      std::deque<Action> actions;
      {
        std::unique_lock lock(mutex_);
        // notify_all() of close() may come before the wait: so it is a short one.
        if (actions_.empty())
          wake_.wait_until(lock, std::min(next_look, clock::now() + std::chrono::milliseconds(200)));
        if (!actions_.empty()) {
          lock.unlock();
          std::this_thread::sleep_for(one_breath);
          lock.lock();
        }
        actions = std::exchange(actions_, {});
      }
      while (!actions.empty() && !*ending_) {
        std::vector<LaunchRequest> requests = take_requests(actions);
        if (!requests.empty()) {
          submit(requests);
        } else if (const auto* launched = std::get_if<Launched>(&actions.front())) {
          watched_[launched->launch] = {*launched, clock::now(), {}, {}, false};
          actions.pop_front();
        } else {
          stop_gang(std::get<Stop>(actions.front()).launch);
          actions.pop_front();
        }
      }
      if (*ending_ || clock::now() < next_look) continue;
      const bool sweep = !looked_ && clock::now() - born_ > std::chrono::milliseconds(times_.settle);
      if (!watched_.empty() || sweep) look(sweep);
      next_look = clock::now() + std::chrono::milliseconds(times_.poll);
    }
  }

  /// The requests at the front that go together; none where something else stands there.
  std::vector<LaunchRequest> take_requests(std::deque<Action>& actions) const {
    std::vector<LaunchRequest> requests;
    for (; !actions.empty(); actions.pop_front()) {
      const auto* next = std::get_if<LaunchRequest>(&actions.front());
      if (next == nullptr || (!requests.empty() && !engine_->together(requests.front(), *next))) break;
      requests.push_back(*next);
    }
    return requests;
  }

  void submit(const std::vector<LaunchRequest>& requests) {
    const auto since = clock::now();
    const std::vector<Submission> answers = engine_->submit(requests);
    if (*ending_) return;
    check(answers.size() == requests.size(), "an engine answers for each gang");
    for (size_t i = 0; i < requests.size(); ++i) submitted(requests[i], answers[i], since);
  }

  void submitted(const LaunchRequest& request, const Submission& answer, clock::time_point since) {
    Watched gang{{request.launch, "", request.ranks, request.pool}, since, {}, {}, false};
    if (const auto* refusal = std::get_if<Refusal>(&answer)) {
      if (!refusal->sent) return tell(LaunchExit{request.launch, refusal->reason, refusal->blameless});
      complain(refusal->reason);
    } else {
      gang.launched.handle = std::get<std::string>(answer);
      tell(LaunchHandle{request.launch, gang.launched.handle});
    }
    watched_[request.launch] = std::move(gang);
  }

  void stop_gang(const std::string& launch) {
    const auto found = watched_.find(launch);
    if (found == watched_.end()) return;
    found->second.stop = true;
    cancel(found->second);
  }

  void cancel(Watched& gang) {
    gang.cancelled = clock::now();
    if (Status done = engine_->cancel(gang.launched); !done) complain(done.error().message);
  }

  void look(bool sweep) {
    auto listed = engine_->list();
    if (!listed) return complain(listed.error().message);
    if (std::exchange(silent_, false)) log_.info("pool {}: its engine answers again", pool_.name);
    for (auto it = watched_.begin(); it != watched_.end() && !*ending_;) {
      const auto found = listed->find(it->first);
      const bool over = found == listed->end() ? missing(it->second) : see(it->second, found->second);
      it = over ? watched_.erase(it) : std::next(it);
    }
    if (!sweep) return;
    // What an earlier coordinator asked for and nobody knows: its row is not in the backup that was restored.
    looked_ = true;
    for (const auto& [launch, state] : *listed) {
      if (watched_.contains(launch) || state.phase == Phase::ended) continue;
      log_.info("pool {}: {} is not in the store, so it is ended", pool_.name, state.handle);
      (void)engine_->cancel({launch, state.handle, 1, pool_.name});
    }
  }

  /// The engine does not know the gang. True: it has ended.
  bool missing(Watched& gang) {
    if (!gang.last && clock::now() - gang.since < std::chrono::milliseconds(times_.settle)) return false;
    if (gang.launched.handle.empty()) {
      tell(LaunchExit{gang.launched.launch, "the coordinator ended before it was asked for", true});
      return true;
    }
    end(gang);
    return true;
  }

  bool see(Watched& gang, const EngineState& state) {
    if (gang.launched.handle.empty()) {
      gang.launched.handle = state.handle;
      tell(LaunchHandle{gang.launched.launch, state.handle});
    }
    if (state.phase == Phase::ended) {
      gang.last = state;
      end(gang);
      return true;
    }
    if (gang.stop && clock::now() - *gang.cancelled > cancel_again) cancel(gang);
    const bool back = gang.last && gang.last->phase == Phase::running && state.phase == Phase::queued;
    const bool new_text = !gang.last || gang.last->phase != state.phase || gang.last->text != state.text;
    gang.last = state;
    if (new_text) {
      tell(LaunchProgress{gang.launched.launch, state.phase == Phase::queued,
                          back ? "its engine has put it back: " + state.text : state.text});
    }
    return false;
  }

  void end(const Watched& gang) {
    EngineState how = engine_->how_it_ended(gang.launched, gang.last);
    (void)engine_->cancel(gang.launched);
    tell(LaunchExit{gang.launched.launch, how.text, how.blameless});
  }

  void complain(const std::string& what) {
    if (*ending_) return;  // it is we who did not wait
    silent_ = true;
    if (what == complaint_ && clock::now() - complained_ < complain_again) return;
    complaint_ = what;
    complained_ = clock::now();
    log_.warning("pool {}: {}", pool_.name, what);
  }

  std::unique_ptr<Engine> engine_;
  Pool pool_;
  EngineTimes times_;
  Log log_;
  std::shared_ptr<std::atomic<bool>> ending_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Action> actions_;
  std::vector<LaunchEvent> events_;
  // Of the thread alone:
  std::map<std::string, Watched> watched_;
  const clock::time_point born_ = clock::now();
  bool looked_ = false, silent_ = false;
  std::string complaint_;
  clock::time_point complained_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Launcher> make_engine_launcher(std::unique_ptr<Engine> engine, const Pool& pool, EngineTimes times,
                                               const Log& log, std::shared_ptr<std::atomic<bool>> ending) {
  return std::make_unique<EngineLauncher>(std::move(engine), pool, times, log, std::move(ending));
}

Result<std::string> owner_of(const std::string& data) {
  if (Status made = make_gangs_folder(data); !made) return made.error();
  const std::string path = data + "/gangs/owner";
  std::string owner;
  if (std::ifstream(path) >> owner && !owner.empty()) return owner;
  owner = random_id().substr(0, 8);
  std::ofstream file(path);
  file << owner << "\n";
  if (!file.flush()) return error("cannot write {}", path);
  return owner;
}

}  // namespace hivq
