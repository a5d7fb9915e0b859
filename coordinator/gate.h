#pragma once

// Who may do what: the keys that the coordinator knows, and what each role is allowed.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/allow_list.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/messages.h"
#include "coordinator/rows.h"

namespace hivq {

struct GateOptions {
  std::string keys;        // folder (common/allow_list.h); made where it is missing
  std::string own_secret;  // file of the coordinator's own key; empty: KEYS/coordinator.json
  std::vector<std::pair<Role, std::string>>
      allow;  // files of keys whose holders have this role beside those of the list
};

/// Whom a key or a token belongs to.
struct Person {
  std::string name;
  Role role = Role::viewer;
};

/// For any thread.
class Gate {
 public:
  /// Makes what the folder lacks. Errors: a file cannot be read or written, two keys are the same.
  static Result<std::unique_ptr<Gate>> open(const GateOptions& options);

  const KeyPair& own() const { return own_; }
  /// Of the HTTP side, which speaks for the users of its tokens; another one at every start.
  const KeyPair& inner() const { return inner_; }
  const std::string& keys() const { return options_.keys; }

  /// Nothing for one that is not known or revoked. by_key() and by_token() look again at the files where they have
  /// changed before they say so.
  std::optional<Person> by_key(const std::string& public_key) const;
  std::optional<Person> by_token(const std::string& token) const;
  std::optional<Person> by_name(const std::string& name) const;

  /// What a browser shows after it has signed in with a token, for half a day: it ends with the key that it stands for.
  std::string session_of(const Person& person, Millis now) const;
  std::optional<Person> by_session(const std::string& session, Millis now) const;

  /// Reads the files again where they have changed. A list that has become wrong changes nothing; a key of `allow` that
  /// cannot be read is not known any more. Both are told once, and tried again.
  void refresh() const;
  /// What has changed since the last call, in sentences for the audit.
  std::vector<std::string> take_changes();

 private:
  explicit Gate(GateOptions options) : options_(std::move(options)) {}
  /// `left_out`: where a key of `allow` cannot be read, it is not among the keys, and this tells so; null: an error.
  Result<AllowList> read(std::string* left_out) const;
  std::string stamp() const;
  std::shared_ptr<const AllowList> list() const;

  const GateOptions options_;
  KeyPair own_;
  const KeyPair inner_ = new_key_pair();
  mutable std::mutex reading_;  // one reads at a time
  mutable std::string stamp_;   // of the files as they were read; empty: not all could be
  mutable std::string told_;    // of what could not be read
  mutable std::mutex mutex_;    // guards what follows
  mutable std::shared_ptr<const AllowList> list_;
  mutable std::vector<std::string> changes_;
};

/// A message's name on the wire: `submit`.
std::string type_of(const Body& body);
/// Whether the role is enough for a message; the coordinator's own jobs are told apart by may_change(). Errors:
/// `not allowed: …`.
Status may_send(const Person& person, const Body& body);
/// The job that a wish is about; nothing where it is about none.
std::optional<JobId> job_of(const Body& body);
/// Whether the person may change a job of `owner`. Errors: as above.
Status may_change(const Person& person, JobId job, const std::string& owner);
/// A wish in words for the audit: `cancel job 7`; empty for what is not audited.
std::string audit_text(const Body& body);

/// At most `rate` a second on average, `burst` at once.
class RateLimit {
 public:
  RateLimit(double rate, double burst) : rate_(rate), burst_(burst) {}
  /// Whether one more of this name is within the limit.
  bool allow(const std::string& name, Millis now);

 private:
  struct Bucket {
    double tokens = 0;
    Millis at = 0;
  };
  const double rate_, burst_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace hivq
