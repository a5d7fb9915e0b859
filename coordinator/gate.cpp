#include "coordinator/gate.h"

#include <algorithm>
#include <filesystem>

#include "common/file.h"
#include "coordinator/door_log.h"

namespace hivq {

namespace {

constexpr size_t most_buckets = 10'000;
constexpr Millis session_time = 12 * 3'600'000;

template <typename... Bodies>
bool is_one_of(const Body& body) {
  return (std::holds_alternative<Bodies>(body) || ...);
}

bool is_gangs(const Body& body) { return is_one_of<Hello, Heartbeat, Report, FetchChunk, Goodbye>(body); }

/// The least role that may send a client's message.
Role role_for(const Body& body) {
  if (is_one_of<SetDrained, Backup>(body)) return Role::admin;
  if (is_one_of<Submit, Cancel, SetPaused, SetPriority, Pin, AttachFigure, AskTrial, SuggestValue, ReportTrial,
                EndTrial>(body)) {
    return Role::submitter;
  }
  return Role::viewer;
}

std::optional<Person> person_of(const AllowedKey* key) {
  if (key == nullptr || key->revoked != 0) return std::nullopt;
  return Person{key->name, key->role};
}

std::vector<std::string> changes(const AllowList& before, const AllowList& after) {
  std::vector<std::string> told;
  for (const AllowedKey& key : after.keys()) {
    const AllowedKey* old = before.by_name(key.name);
    const std::string who = fmt::format("the key of {} ({})", key.name, to_string(key.role));
    if (old == nullptr) {
      told.push_back(who + " was added");
    } else if (key.revoked != 0 && old->revoked == 0) {
      told.push_back(who + " was revoked");
    } else if (old->public_key != key.public_key || old->role != key.role ||
               (key.revoked == 0) != (old->revoked == 0)) {
      told.push_back(who + " was changed");
    }
  }
  for (const AllowedKey& key : before.keys()) {
    if (after.by_name(key.name) == nullptr) told.push_back(fmt::format("the key of {} was removed", key.name));
  }
  return told;
}

}  // namespace

Result<std::unique_ptr<Gate>> Gate::open(const GateOptions& options) {
  std::unique_ptr<Gate> gate(new Gate(options));
  std::optional<KeyPair> own;
  if (!options.own_secret.empty()) {
    auto key = read_key(options.own_secret);
    if (!key) return key.error();
    own = std::move(key->key);
  }
  if (auto made = make_keys_folder(options.keys, own); !made) return made.error();
  if (!own) {
    auto key = read_key(own_key_path(options.keys));
    if (!key) return key.error();
    own = std::move(key->key);
  }
  gate->own_ = std::move(*own);
  gate->stamp_ = gate->stamp();
  auto list = gate->read(nullptr);
  if (!list) return list.error();
  gate->list_ = std::make_shared<const AllowList>(std::move(*list));
  return gate;
}

Result<AllowList> Gate::read(std::string* left_out) const {
  auto list = read_allow_list(allowed_path(options_.keys));
  if (!list) return list.error();
  for (const auto& [role, path] : options_.allow) {
    auto key = read_key(path);
    if (!key && left_out != nullptr) {
      *left_out += fmt::format("{}{}", left_out->empty() ? "a key is left out: " : "; ", key.error().message);
      continue;
    }
    if (!key) return key.error();
    const std::string name = key->name.empty() ? std::filesystem::path(path).stem().string() : key->name;
    if (list->by_public_key(key->key.public_key) != nullptr) continue;  // as the list says, be it revoked
    // A key of the folder's own that has the same name goes under another one.
    const bool taken = list->by_name(name) != nullptr;
    auto added = list->add(allowed_key(taken ? name + "@" + to_string(role) : name, role, key->key, 0));
    if (!added) return error("{}: {}", path, added.error().message);
  }
  return list;
}

std::string Gate::stamp() const {
  std::string all = file_stamp(allowed_path(options_.keys));
  for (const auto& [role, path] : options_.allow) all += ' ' + file_stamp(path);
  return all;
}

void Gate::refresh() const {
  const std::lock_guard reading(reading_);
  std::string now = stamp();
  if (now == stamp_) return;
  std::string wrong;
  auto read_again = read(&wrong);
  if (!read_again) wrong = fmt::format("the list of keys stays as it was: {}", read_again.error().message);
  stamp_ = wrong.empty() ? std::move(now) : "";
  const std::lock_guard lock(mutex_);
  if (wrong != std::exchange(told_, wrong) && !wrong.empty()) changes_.push_back(wrong);
  if (!read_again) return;
  auto fresh = std::make_shared<const AllowList>(std::move(*read_again));
  for (std::string& change : changes(*list_, *fresh)) changes_.push_back(std::move(change));
  list_ = std::move(fresh);
}

std::vector<std::string> Gate::take_changes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(changes_, {});
}

std::shared_ptr<const AllowList> Gate::list() const {
  const std::lock_guard lock(mutex_);
  return list_;
}

std::optional<Person> Gate::by_key(const std::string& public_key) const {
  auto known = list();
  if (const AllowedKey* key = known->by_public_key(public_key)) return person_of(key);
  refresh();
  known = list();
  return person_of(known->by_public_key(public_key));
}
std::optional<Person> Gate::by_token(const std::string& token) const {
  auto known = list();
  if (const AllowedKey* key = known->by_token(token)) return person_of(key);
  refresh();
  known = list();
  return person_of(known->by_token(token));
}
std::optional<Person> Gate::by_name(const std::string& name) const {
  const auto known = list();
  return person_of(known->by_name(name));
}

// NAME.END.HASH, in which the hash is of the two, and of the key, under the coordinator's own.
static std::string session_text(const KeyPair& own, const AllowedKey& key, Millis end) {
  const std::string text = fmt::format("{}.{}", key.name, end);
  return text + '.' + keyed_hash(own.secret, fmt::format("hivq session {} {}", text, key.public_key));
}

std::string Gate::session_of(const Person& person, Millis now) const {
  const auto known = list();
  const AllowedKey* key = known->by_name(person.name);
  return key == nullptr ? "" : session_text(own_, *key, now + session_time);
}

std::optional<Person> Gate::by_session(const std::string& session, Millis now) const {
  const size_t hash = session.rfind('.'),
               end = hash == session.npos || hash == 0 ? session.npos : session.rfind('.', hash - 1);
  if (end == session.npos) return std::nullopt;
  const Millis until = std::atoll(session.c_str() + end + 1);
  const auto known = list();
  const AllowedKey* key = known->by_name(session.substr(0, end));
  if (key == nullptr || until < now || !same_secret(session, session_text(own_, *key, until))) return std::nullopt;
  return person_of(key);
}

std::string type_of(const Body& body) {
  return std::visit([](const auto& alternative) { return std::string(std::decay_t<decltype(alternative)>::type); },
                    body);
}

Status may_send(const Person& person, const Body& body) {
  const bool gangs = is_gangs(body);
  if (person.role == Role::gang) {
    if (gangs) return {};
    return error("not allowed: {} is a gang, and '{}' is for users", person.name, type_of(body));
  }
  if (gangs && !std::holds_alternative<FetchChunk>(body)) {
    return error(
        "not allowed: '{}' is for gangs, and {} is none: an operator makes a gang's key with hivq keys add NAME --role "
        "gang",
        type_of(body), person.name);
  }
  const Role least = role_for(body);
  if (person.role >= least) return {};
  return error("not allowed: {} is a {}, and '{}' needs the role {}", person.name, to_string(person.role),
               type_of(body), to_string(least));
}

std::optional<JobId> job_of(const Body& body) {
  if (const auto* wish = std::get_if<Cancel>(&body)) return wish->job;
  if (const auto* wish = std::get_if<SetPaused>(&body)) return wish->job;
  if (const auto* wish = std::get_if<SetPriority>(&body)) return wish->job;
  if (const auto* wish = std::get_if<Pin>(&body)) return wish->trial.job;
  if (const auto* wish = std::get_if<AttachFigure>(&body)) return wish->trial.job;
  if (const auto* wish = std::get_if<AskTrial>(&body)) return wish->job;
  if (const auto* wish = std::get_if<SuggestValue>(&body)) return wish->lease.trial.job;
  if (const auto* wish = std::get_if<ReportTrial>(&body)) return wish->lease.trial.job;
  if (const auto* wish = std::get_if<EndTrial>(&body)) return wish->lease.trial.job;
  return std::nullopt;
}

Status may_change(const Person& person, JobId job, const std::string& owner) {
  if (person.role == Role::admin || person.name == owner) return {};
  return error("not allowed: job {} belongs to {}, and {} is no operator", job, owner.empty() ? "nobody" : owner,
               person.name);
}

std::string audit_text(const Body& body) {
  if (const auto* wish = std::get_if<Submit>(&body))
    return fmt::format("submit {} for {}", short_line(wish->file), short_line(wish->user));
  if (const auto* wish = std::get_if<Cancel>(&body)) return fmt::format("cancel job {}", wish->job);
  if (const auto* wish = std::get_if<SetPaused>(&body)) {
    return fmt::format("{} job {}", wish->paused ? "pause" : "resume", wish->job);
  }
  if (const auto* wish = std::get_if<SetPriority>(&body)) {
    return fmt::format("set the priority of job {} to {}", wish->job, wish->priority);
  }
  if (const auto* wish = std::get_if<SetDrained>(&body)) {
    return fmt::format("{} {}", wish->drained ? "drain" : "end the drain of", short_line(wish->target));
  }
  if (const auto* wish = std::get_if<Pin>(&body)) {
    return fmt::format("{} a checkpoint of trial {}", wish->pinned ? "pin" : "unpin", to_string(wish->trial));
  }
  if (const auto* wish = std::get_if<AttachFigure>(&body)) {
    return fmt::format("attach figure {} to trial {}", wish->figure, to_string(wish->trial));
  }
  if (const auto* wish = std::get_if<Backup>(&body)) return fmt::format("backup into {}", short_line(wish->folder));
  return "";
}

bool RateLimit::allow(const std::string& name, Millis now) {
  if (buckets_.size() >= most_buckets && !buckets_.contains(name)) {
    std::erase_if(buckets_, [&](const auto& entry) {
      return static_cast<double>(now - entry.second.at) * rate_ / 1e3 >= burst_;  // it is full again
    });
  }
  auto [found, fresh] = buckets_.try_emplace(name, Bucket{burst_, now});
  Bucket& bucket = found->second;
  bucket.tokens = std::min(burst_, bucket.tokens + static_cast<double>(now - bucket.at) * rate_ / 1e3);
  bucket.at = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

}  // namespace hivq
