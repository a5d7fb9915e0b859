#pragma once

// Keys of CURVE (X25519, as ZeroMQ's CURVE has them): how the coordinator knows its gangs and clients, and they it.
// In text a key is 64 lower-case hexadecimal digits, which no shell, YAML or URL changes.

#include <optional>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/result.h"

namespace hivq {

/// What the holder of a key may do; each of the first three may do what those before it may.
enum class Role {
  viewer,     // read everything
  submitter,  // and submit jobs, and change its own
  admin,      // `operator` in text: change everyone's jobs, drain gangs, make backups
  gang,       // serve as a gang: take trials, report what they did. Nothing else
};
std::string to_string(Role role);
/// Errors: no role, with the list of them.
Result<Role> parse_role(std::string_view text);

struct KeyPair {
  std::string public_key, secret;
};
/// From the operating system's random source.
KeyPair new_key_pair();
/// `secret`: 64 hexadecimal digits, or base64 of 32 bytes. Errors: neither.
Result<KeyPair> key_pair_of(std::string_view secret);
/// 64 hexadecimal digits, in either case. Errors: it is no such thing.
Result<std::string> parse_public_key(std::string_view text);

/// The 32 bytes of a key that was checked before.
std::string raw_key(const std::string& hex);

/// HMAC-SHA-256 of a text under a key, 64 hexadecimal digits.
std::string keyed_hash(const std::string& secret, std::string_view text);
/// Whether two texts are the same, in a time that does not tell how far they agree.
bool same_secret(std::string_view a, std::string_view b);

/// What a holder of the secret shows to the HTTP API: `hivq_` and 64 hexadecimal digits, from which the secret cannot
/// be found (HMAC-SHA-256).
std::string http_token(const std::string& secret);

/// A key with what is known of it: a file of its own, JSON, that its owner alone may read.
struct KeyFile {
  std::string name;             // of its holder
  std::string role;             // what the coordinator lets it do; to be read by people
  std::string coordinator;      // tcp://HOST:PORT; empty: not known
  std::string coordinator_key;  // public; empty: not known
  KeyPair key;
};
/// The file as above, or one that holds nothing but a secret. `text`: where it came from, for errors.
Result<KeyFile> parse_key(const std::string& text, const std::string& source);
/// Errors: it cannot be read, it is no key.
Result<KeyFile> read_key(const std::string& path);
/// In one step, readable by its owner alone. Errors: it cannot be written.
Status write_key(const std::string& path, const KeyFile& key);

/// With what one end of a connection shows who it is, and knows the coordinator.
struct Credentials {
  KeyPair key;
  std::string coordinator_key;
};

/// What the user has said about keys: options, then the environment (HIVQ_KEY: a path or a secret itself;
/// HIVQ_COORDINATOR_KEY), then ~/.config/hivq/key.json.
struct KeyOptions {
  std::string key;              // path
  std::string coordinator_key;  // public
};
/// A key that was said; nothing where none was. Errors: it cannot be read.
Result<std::optional<KeyFile>> said_key(const KeyOptions& options);
/// ~/.config/hivq/key.json, where it is. Errors: it is no key.
Result<std::optional<KeyFile>> users_key();
/// Where users_key() looks.
std::string users_key_path();
/// Errors: the coordinator's public key is not known.
Result<Credentials> credentials_of(const KeyFile& key, const std::string& where_it_came_from);
/// What a gang connects with: as said_key(), nothing where nothing was said.
Result<std::optional<Credentials>> said_credentials(const KeyOptions& options);

/// The address is of this machine alone: tcp://127.0.0.1:4487, http://localhost:4488.
bool is_loopback(std::string_view address);

}  // namespace hivq
