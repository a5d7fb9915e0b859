#pragma once

// KEYS/allowed.json: whose keys a coordinator knows. `hivq keys` writes it, the coordinator reads it again when it
// changes.

#include <optional>
#include <string>
#include <vector>

#include "common/keys.h"

namespace hivq {

struct AllowedKey {
  std::string name;  // letters, digits, . _ - @; one holder has one key
  Role role = Role::viewer;
  std::string public_key;
  std::string token_sha256;  // of its HTTP token; empty: it was added by its public key alone, and has none
  Millis added = 0;          // since 1970
  Millis revoked = 0;        // 0: it is not
};

class AllowList {
 public:
  const std::vector<AllowedKey>& keys() const { return keys_; }
  /// Revoked ones too. nullptr: there is none.
  const AllowedKey* by_public_key(const std::string& public_key) const;
  const AllowedKey* by_name(const std::string& name) const;
  const AllowedKey* by_token(const std::string& token) const;

  /// Errors: the name is taken or not one, the key is known already.
  Status add(AllowedKey key);
  /// Errors: there is no such name.
  Status revoke(const std::string& name, Millis now);

 private:
  std::vector<AllowedKey> keys_;
};

/// An entry for the holder of a secret.
AllowedKey allowed_key(std::string name, Role role, const KeyPair& key, Millis now);

/// An empty one where the file is missing. Errors: it cannot be read; `FILE: key 3 (alice): field role: …`.
Result<AllowList> read_allow_list(const std::string& path);
Status write_allow_list(const std::string& path, const AllowList& list);

// A coordinator's folder of keys: KEYS/coordinator.json, its own; operator.json and gang.json, for whoever may read its
// data folder and for the gangs that it starts itself; allowed.json.

std::string allowed_path(const std::string& keys);
std::string own_key_path(const std::string& keys);
std::string public_key_path(const std::string& keys);  // coordinator.pub: its public key, for everyone
std::string operator_key_path(const std::string& keys);
std::string gang_key_path(const std::string& keys);

/// Makes what of the folder is missing. `own`: the coordinator's key is elsewhere. Errors: it cannot be written.
Status make_keys_folder(const std::string& keys, const std::optional<KeyPair>& own = std::nullopt);
/// Errors: no coordinator has started with these keys.
Result<std::string> coordinators_public_key(const std::string& keys);
/// A new key of this name and role, which joins the list; or with `public_key` the one of which that is known. Errors:
/// as add().
Result<KeyFile> add_key(const std::string& keys, const std::string& name, Role role,
                        const std::string& public_key = "");
Status revoke_key(const std::string& keys, const std::string& name);

/// With what a client asks a coordinator: the key that was said, else the operator's of its folder of `keys` (as its
/// coordinator.json names it, empty: it asks for none), else, away from this machine, the user's own. Errors: a key
/// cannot be read.
Result<std::optional<Credentials>> find_credentials(const KeyOptions& said, const std::string& endpoint,
                                                    const std::string& keys);

}  // namespace hivq
