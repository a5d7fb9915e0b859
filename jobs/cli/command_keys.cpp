// keys: whom a coordinator lets in. The list lies in its folder (common/allow_list.h); it needs not run.

#include <ctime>
#include <filesystem>

#include "common/allow_list.h"
#include "common/coordinator_file.h"
#include "jobs/cli/commands.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

std::string folder_of(const Common& common, const KeysArguments& arguments) {
  if (!arguments.keys.empty()) return arguments.keys;
  if (const auto file = read_coordinator_file(common.where.data); file && !file->keys.empty()) return file->keys;
  return common.where.data + "/keys";
}

std::string day(Millis at) {
  const auto seconds = static_cast<std::time_t>(at / 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:04}-{:02}-{:02}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday);
}

/// Where others find the coordinator, if its own address tells.
std::string endpoint_of(const Common& common, const KeysArguments& arguments) {
  if (!common.where.coordinator.empty()) return common.where.coordinator;
  if (!arguments.keys.empty()) return "";
  const auto file = read_coordinator_file(common.where.data);
  const bool anywhere = !file || file->endpoint.find("//0.0.0.0:") != std::string::npos ||
                        file->endpoint.find("//[::]:") != std::string::npos;
  return anywhere ? "" : file->endpoint;
}

std::string json_of(const KeyFile& key) {
  return text_of({{"name", key.name},
                  {"role", key.role},
                  {"coordinator", key.coordinator},
                  {"coordinator_key", key.coordinator_key},
                  {"public", key.key.public_key},
                  {"secret", key.key.secret}});
}

/// To a file that its owner alone may read, or (`-`) to standard output.
Result<int> hand_over(const Common& common, const KeyFile& key, const std::string& path, const std::string& then) {
  if (path == "-") return printed(json_of(key));
  if (std::filesystem::exists(path)) return error("{} exists already: name another file with --out", path);
  if (auto written = write_key(path, key); !written) return written.error();
  if (common.json) {
    return printed(text_of({{"name", key.name}, {"role", key.role}, {"public", key.key.public_key}, {"file", path}}));
  }
  return printed(then);
}

/// The key that was named, else the operator's of the data folder, else the user's own.
Result<KeyFile> key_of(const Common& common) {
  auto key = said_key(common.where.keys);
  if (!key) return key.error();
  if (*key) return std::move(**key);
  const auto live = live_coordinator(common.where.data);
  if (live && !live->keys.empty()) return read_key(operator_key_path(live->keys));
  key = users_key();
  if (!key) return key.error();
  if (*key) return std::move(**key);
  return error("no key: name one with --key FILE or HIVQ_KEY, or put it into {}", users_key_path());
}

}  // namespace

Result<int> keys_add(const Common& common, const KeysArguments& arguments) {
  auto role = parse_role(arguments.role);
  if (!role) return wrong_input(role.error());
  const std::string out = arguments.out.empty() ? arguments.name + ".json" : arguments.out;
  const bool secret_here = arguments.public_key.empty();
  if (secret_here && out != "-" && std::filesystem::exists(out)) {
    return error("{} exists already: name another file with --out", out);
  }
  const std::string folder = folder_of(common, arguments);
  auto key = add_key(folder, arguments.name, *role, arguments.public_key);
  if (!key) return key.error();
  key->coordinator = endpoint_of(common, arguments);
  if (!secret_here) {
    return printed(fmt::format("{} is a {} now; to the file of the key belong coordinator_key {}\n", key->name,
                               key->role, key->coordinator_key));
  }
  const std::string use =
      *role == Role::gang
          ? fmt::format("start gangs with it: hivq-worker --coordinator tcp://HOST:PORT --key {}", shell_word(out))
          : fmt::format("give it to {0} by a safe way; it is used with --key FILE, HIVQ_KEY, or as {1}", key->name,
                        "~/.config/hivq/key.json");
  return hand_over(common, *key, out,
                   fmt::format("{} holds the key of {}, a {}: {}\n", out, key->name, key->role, use));
}

Result<int> keys_list(const Common& common, const KeysArguments& arguments) {
  const std::string folder = folder_of(common, arguments);
  auto list = read_allow_list(allowed_path(folder));
  if (!list) return list.error();
  const auto own = coordinators_public_key(folder);
  if (common.json) {
    auto keys = nlohmann::ordered_json::array();
    for (const AllowedKey& key : list->keys()) {
      keys.push_back({{"name", key.name},
                      {"role", to_string(key.role)},
                      {"public", key.public_key},
                      {"added", key.added},
                      {"revoked", key.revoked}});
    }
    return printed(text_of({{"coordinator_key", own ? *own : ""}, {"keys", std::move(keys)}}));
  }
  std::string text = own ? fmt::format("coordinator_key {}\n", *own) : own.error().message + '\n';
  size_t widest = 4;
  for (const AllowedKey& key : list->keys()) widest = std::max(widest, key.name.size());
  text += fmt::format("{:{}}  {:9}  {:10}  {:10}  public key\n", "name", widest, "role", "added", "revoked");
  for (const AllowedKey& key : list->keys()) {
    text += fmt::format("{:{}}  {:9}  {:10}  {:10}  {}\n", key.name, widest, to_string(key.role), day(key.added),
                        key.revoked == 0 ? "" : day(key.revoked), key.public_key);
  }
  return printed(text);
}

Result<int> keys_revoke(const Common& common, const KeysArguments& arguments) {
  if (auto done = revoke_key(folder_of(common, arguments), arguments.name); !done) return done.error();
  if (common.json) return printed(text_of({{"name", arguments.name}, {"revoked", true}}));
  return printed(
      fmt::format("the key of {} is revoked: a coordinator that runs takes note within a second\n", arguments.name));
}

Result<int> keys_token(const Common& common) {
  const auto key = key_of(common);
  if (!key) return key.error();
  const std::string token = http_token(key->key.secret);
  return printed(common.json ? text_of({{"token", token}}) : token + '\n');
}

Result<int> keys_public(const Common& common) {
  const auto key = key_of(common);
  if (!key) return key.error();
  return printed(common.json ? text_of({{"public", key->key.public_key}}) : key->key.public_key + '\n');
}

Result<int> keys_new(const Common& common, const KeysArguments& arguments) {
  KeyFile key{arguments.name, "", common.where.coordinator, "", new_key_pair()};
  if (!common.where.keys.coordinator_key.empty()) {
    auto known = parse_public_key(common.where.keys.coordinator_key);
    if (!known) return wrong_input(known.error());
    key.coordinator_key = *known;
  }
  const std::string out = arguments.out.empty() ? arguments.name + ".json" : arguments.out;
  return hand_over(
      common, key, out,
      fmt::format("{} holds a new key; an operator lets it in with\n  hivq keys add {} --role ROLE --public {}\n", out,
                  arguments.name, key.key.public_key));
}

}  // namespace hivq::cli
