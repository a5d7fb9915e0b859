#include "common/allow_list.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "common/sha256.h"

namespace hivq {

namespace {

constexpr size_t most_name = 64;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= most_name &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-") == name.npos;
}

template <typename Is>
const AllowedKey* find(const std::vector<AllowedKey>& keys, Is is) {
  const auto found = std::find_if(keys.begin(), keys.end(), is);
  return found == keys.end() ? nullptr : &*found;
}

/// Two `hivq keys` at once change the list one after the other.
class Lock {
 public:
  explicit Lock(const std::string& keys) : file_(open((keys + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ >= 0) flock(file_, LOCK_EX);
  }
  Lock(const Lock&) = delete;
  ~Lock() {
    if (file_ >= 0) close(file_);
  }

 private:
  int file_;
};

Status make_folder(const std::string& keys) {
  std::error_code failed;
  std::filesystem::create_directories(keys, failed);
  if (failed) return error("the folder of keys {} cannot be made: {}", keys, failed.message());
  std::filesystem::permissions(keys, std::filesystem::perms::owner_all, failed);
  return {};
}

/// The coordinator's public key; its own pair is made where there is none and `own` is none.
Result<std::string> own_public_key(const std::string& keys, const std::optional<KeyPair>& own) {
  if (own) return own->public_key;
  const std::string path = own_key_path(keys);
  if (!std::filesystem::exists(path)) {
    auto written = write_key(path, {"coordinator", "coordinator", "", "", new_key_pair()});
    if (!written) return written.error();
  }
  auto key = read_key(path);
  if (!key) return key.error();
  return key->key.public_key;
}

/// A key for the coordinator's own use: in the folder and in the list, in both or made anew.
Status make_inner_key(const std::string& keys, const std::string& path, Role role, const std::string& own_public) {
  const std::string name = std::filesystem::path(path).stem().string();
  auto list = read_allow_list(allowed_path(keys));
  if (!list) return list.error();
  if (std::filesystem::exists(path)) {
    auto there = read_key(path);
    if (!there) return there.error();
    if (list->by_public_key(there->key.public_key) != nullptr && there->coordinator_key == own_public) return {};
    if (list->by_public_key(there->key.public_key) == nullptr) {
      if (list->by_name(name) != nullptr)
        return {};  // revoked by hand and made anew under the name: theirs to sort out
      if (auto added = list->add(allowed_key(name, role, there->key, wall_clock())); !added) return added;
      if (auto written = write_allow_list(allowed_path(keys), *list); !written) return written;
    }
    there->coordinator_key = own_public;
    return write_key(path, *there);
  }
  if (list->by_name(name) != nullptr) return {};  // it was taken away on purpose
  const KeyPair pair = new_key_pair();
  if (auto written = write_key(path, {name, to_string(role), "", own_public, pair}); !written) return written;
  if (auto added = list->add(allowed_key(name, role, pair, wall_clock())); !added) return added;
  return write_allow_list(allowed_path(keys), *list);
}

}  // namespace

const AllowedKey* AllowList::by_public_key(const std::string& public_key) const {
  return find(keys_, [&](const AllowedKey& key) { return key.public_key == public_key; });
}

const AllowedKey* AllowList::by_name(const std::string& name) const {
  return find(keys_, [&](const AllowedKey& key) { return key.name == name; });
}

const AllowedKey* AllowList::by_token(const std::string& token) const {
  // Compared by their digests: how far two agree tells nothing about a token.
  const std::string digest = sha256_hex(token);
  return find(keys_, [&](const AllowedKey& key) { return key.token_sha256 == digest; });
}

Status AllowList::add(AllowedKey key) {
  if (!is_name(key.name)) {
    return error("'{}' is no name for a key: it must be letters, digits and . _ @ -, {} at most", key.name, most_name);
  }
  if (by_name(key.name) != nullptr) {
    return error("there is a key {} already{}; choose another name", key.name,
                 by_name(key.name)->revoked != 0 ? ", though it is revoked" : " (hivq keys revoke ends it)");
  }
  if (const AllowedKey* same = by_public_key(key.public_key))
    return error("this key is the one of {} already", same->name);
  keys_.push_back(std::move(key));
  return {};
}

Status AllowList::revoke(const std::string& name, Millis now) {
  for (AllowedKey& key : keys_) {
    if (key.name != name) continue;
    if (key.revoked == 0) key.revoked = now;
    return {};
  }
  return error("there is no key {}; hivq keys list shows them", name);
}

AllowedKey allowed_key(std::string name, Role role, const KeyPair& key, Millis now) {
  return {std::move(name), role, key.public_key, sha256_hex(http_token(key.secret)), now, 0};
}

Result<AllowList> read_allow_list(const std::string& path) {
  AllowList list;
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) return list;
  std::ifstream file(path);
  if (!file) return error("{} cannot be read: {}", path, std::strerror(errno));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("keys") || !json["keys"].is_array()) {
    return error("{} is no list of keys: it must be {{\"keys\": […]}}, as hivq keys writes it", path);
  }
  size_t number = 0;
  for (const auto& entry : json["keys"]) {
    const std::string where = fmt::format("{}: key {}", path, ++number);
    try {
      auto role = parse_role(entry.at("role").get<std::string>());
      if (!role) return error("{}: field role: {}", where, role.error().message);
      auto known = parse_public_key(entry.at("public").get<std::string>());
      if (!known) return error("{}: field public: {}", where, known.error().message);
      const Status added =
          list.add({entry.at("name").get<std::string>(), *role, *known, entry.value("token_sha256", ""),
                    entry.value("added", Millis{0}), entry.value("revoked", Millis{0})});
      if (!added) return error("{}: {}", where, added.error().message);
    } catch (const nlohmann::json::exception& wrong) {
      return error("{}: {}", where, wrong.what());
    }
  }
  return list;
}

Status write_allow_list(const std::string& path, const AllowList& list) {
  auto keys = nlohmann::ordered_json::array();
  for (const AllowedKey& key : list.keys()) {
    nlohmann::ordered_json entry{{"name", key.name}, {"role", to_string(key.role)}, {"public", key.public_key}};
    if (!key.token_sha256.empty()) entry["token_sha256"] = key.token_sha256;
    entry["added"] = key.added;
    if (key.revoked != 0) entry["revoked"] = key.revoked;
    keys.push_back(std::move(entry));
  }
  return replace_file(path, nlohmann::ordered_json{{"keys", std::move(keys)}}.dump(2) + "\n", 0600);
}

std::string allowed_path(const std::string& keys) { return keys + "/allowed.json"; }
std::string own_key_path(const std::string& keys) { return keys + "/coordinator.json"; }
std::string public_key_path(const std::string& keys) { return keys + "/coordinator.pub"; }
std::string operator_key_path(const std::string& keys) { return keys + "/operator.json"; }
std::string gang_key_path(const std::string& keys) { return keys + "/gang.json"; }

Status make_keys_folder(const std::string& keys, const std::optional<KeyPair>& own) {
  if (auto made = make_folder(keys); !made) return made;
  const Lock lock(keys);
  auto known = own_public_key(keys, own);
  if (!known) return known.error();
  if (auto written = replace_file(public_key_path(keys), *known + "\n", 0644); !written) return written;
  if (auto made = make_inner_key(keys, operator_key_path(keys), Role::admin, *known); !made) return made;
  return make_inner_key(keys, gang_key_path(keys), Role::gang, *known);
}

Result<std::string> coordinators_public_key(const std::string& keys) {
  std::ifstream file(public_key_path(keys));
  std::string text;
  if (!(file >> text))
    return error("{} cannot be read: the coordinator makes it when it starts", public_key_path(keys));
  return parse_public_key(text);
}

Result<KeyFile> add_key(const std::string& keys, const std::string& name, Role role, const std::string& public_key) {
  auto own = coordinators_public_key(keys);
  if (!own) {
    if (auto made = make_keys_folder(keys); !made) return made.error();
    own = coordinators_public_key(keys);
    if (!own) return own.error();
  }
  const Lock lock(keys);
  auto list = read_allow_list(allowed_path(keys));
  if (!list) return list.error();
  KeyFile key{name, to_string(role), "", *own, {}};
  AllowedKey entry;
  if (public_key.empty()) {
    key.key = new_key_pair();
    entry = allowed_key(name, role, key.key, wall_clock());
  } else {
    auto known = parse_public_key(public_key);
    if (!known) return known.error();
    key.key.public_key = *known;
    entry = {name, role, *known, "", wall_clock(), 0};
  }
  if (auto added = list->add(std::move(entry)); !added) return added.error();
  if (auto written = write_allow_list(allowed_path(keys), *list); !written) return written.error();
  return key;
}

Status revoke_key(const std::string& keys, const std::string& name) {
  const Lock lock(keys);
  auto list = read_allow_list(allowed_path(keys));
  if (!list) return list.error();
  if (auto revoked = list->revoke(name, wall_clock()); !revoked) return revoked;
  return write_allow_list(allowed_path(keys), *list);
}

Result<std::optional<Credentials>> find_credentials(const KeyOptions& said, const std::string& endpoint,
                                                    const std::string& keys) {
  auto made = said_credentials(said);
  if (!made || *made) return made;
  if (!keys.empty()) {
    const std::string path = operator_key_path(keys);
    auto key = read_key(path);
    if (!key) {
      return error("the coordinator asks for a key, and {}; name yours with --key FILE or HIVQ_KEY",
                   key.error().message);
    }
    auto credentials = credentials_of(*key, path);
    if (!credentials) return credentials.error();
    return std::optional(std::move(*credentials));
  }
  if (is_loopback(endpoint)) return std::optional<Credentials>();
  auto own = users_key();
  if (!own) return own.error();
  if (!*own) return std::optional<Credentials>();
  auto credentials = credentials_of(**own, users_key_path());
  if (!credentials) return credentials.error();
  return std::optional(std::move(*credentials));
}

}  // namespace hivq
