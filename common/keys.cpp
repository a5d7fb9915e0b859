#include "common/keys.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/file.h"
#include "common/sha256.h"

namespace hivq {

namespace {

constexpr size_t key_bytes = 32;
constexpr std::array<std::pair<Role, const char*>, 4> roles{
    {{Role::viewer, "viewer"}, {Role::submitter, "submitter"}, {Role::admin, "operator"}, {Role::gang, "gang"}}};

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() != 2 * key_bytes) return std::nullopt;
  std::string bytes;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes += static_cast<char>(16 * high + low);
  }
  return bytes;
}

std::optional<std::string> from_base64(std::string_view text) {
  constexpr size_t length = (key_bytes + 2) / 3 * 4;  // with its one `=`
  if (text.size() != length) return std::nullopt;
  std::array<unsigned char, length> bytes{};
  const int count =
      EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(length));
  if (count != static_cast<int>(key_bytes) + 1 || !text.ends_with('=')) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(bytes.data()), key_bytes);
}

std::string public_of(const std::string& secret) {
  using Pkey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  const Pkey key(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr,
                                              reinterpret_cast<const unsigned char*>(secret.data()), secret.size()),
                 EVP_PKEY_free);
  std::string bytes(key_bytes, '\0');
  size_t size = bytes.size();
  check(key && EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(bytes.data()), &size) == 1,
        "OpenSSL knows X25519");
  return bytes;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == text.npos ? "" : text.substr(begin, end - begin + 1);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string to_string(Role role) {
  for (const auto& [each, text] : roles) {
    if (each == role) return text;
  }
  return "";
}

Result<Role> parse_role(std::string_view text) {
  for (const auto& [role, name] : roles) {
    if (text == name) return role;
  }
  return error(
      "'{}' is no role; there are viewer (reads), submitter (submits jobs too), operator (everything) and gang", text);
}

KeyPair new_key_pair() {
  std::string secret(key_bytes, '\0');
  check(RAND_bytes(reinterpret_cast<unsigned char*>(secret.data()), static_cast<int>(key_bytes)) == 1, "random bytes");
  return {hex_text(public_of(secret)), hex_text(secret)};
}

Result<KeyPair> key_pair_of(std::string_view secret) {
  auto bytes = from_hex(secret);
  if (!bytes) bytes = from_base64(secret);
  if (!bytes) return error("a secret key is 64 hexadecimal digits or base64 of 32 bytes");
  return KeyPair{hex_text(public_of(*bytes)), hex_text(*bytes)};
}

Result<std::string> parse_public_key(std::string_view text) {
  const auto bytes = from_hex(text);
  if (!bytes) return error("'{}' is no public key: it must be 64 hexadecimal digits", text);
  return hex_text(*bytes);
}

std::string raw_key(const std::string& hex) {
  auto bytes = from_hex(hex);
  check(bytes.has_value(), "a key is 64 hexadecimal digits");
  return *bytes;
}

std::string keyed_hash(const std::string& secret, std::string_view text) {
  const std::string key = raw_key(secret);
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), digest.data(), &size);
  return hex_text({reinterpret_cast<const char*>(digest.data()), size});
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string http_token(const std::string& secret) { return "hivq_" + keyed_hash(secret, "hivq http token"); }

Result<KeyFile> parse_key(const std::string& text, const std::string& source) {
  const std::string bare = trimmed(text);
  if (auto pair = key_pair_of(bare)) return KeyFile{"", "", "", "", std::move(*pair)};
  const auto json = nlohmann::json::parse(bare, nullptr, /*allow_exceptions=*/false);
  // What is wrong with it is told without the text, which may be a secret.
  if (!json.is_object() || !json.contains("secret") || !json["secret"].is_string()) {
    return error("{} is no key: hivq keys add NAME writes one", source);
  }
  auto pair = key_pair_of(json["secret"].get<std::string>());
  if (!pair) return error("{}: field secret: {}", source, pair.error().message);
  const auto field = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : "";
  };
  KeyFile key{field("name"), field("role"), field("coordinator"), field("coordinator_key"), std::move(*pair)};
  if (!key.coordinator_key.empty()) {
    auto known = parse_public_key(key.coordinator_key);
    if (!known) return error("{}: field coordinator_key: {}", source, known.error().message);
    key.coordinator_key = *known;
  }
  return key;
}

Result<KeyFile> read_key(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return error("the key {} cannot be read: {}; hivq keys add NAME --out FILE makes one", path, std::strerror(errno));
  }
  return parse_key(text.str(), path);
}

Status write_key(const std::string& path, const KeyFile& key) {
  const nlohmann::ordered_json json{{"name", key.name},
                                    {"role", key.role},
                                    {"coordinator", key.coordinator},
                                    {"coordinator_key", key.coordinator_key},
                                    {"public", key.key.public_key},
                                    {"secret", key.key.secret}};
  return replace_file(path, json.dump(2) + "\n", 0600);
}

std::string users_key_path() {
  std::string folder = variable("XDG_CONFIG_HOME");
  if (folder.empty()) folder = variable("HOME") + "/.config";
  return folder + "/hivq/key.json";
}

Result<std::optional<KeyFile>> users_key() {
  std::error_code failed;
  if (!std::filesystem::exists(users_key_path(), failed)) return std::optional<KeyFile>();
  auto key = read_key(users_key_path());
  if (!key) return key.error();
  return std::optional(std::move(*key));
}

Result<std::optional<KeyFile>> said_key(const KeyOptions& options) {
  const std::string named = options.key.empty() ? trimmed(variable("HIVQ_KEY")) : options.key;
  if (named.empty()) return std::optional<KeyFile>();
  // The variable is a key, bare or as a file has it, or names a file; what it is else may be a secret: it is not told.
  const bool itself = options.key.empty() && (key_pair_of(named) || named.starts_with('{'));
  std::error_code failed;
  if (options.key.empty() && !itself && !std::filesystem::exists(named, failed)) {
    return error("HIVQ_KEY is neither a key nor the path of one; hivq keys add NAME --out FILE makes one");
  }
  auto key = itself ? parse_key(named, "HIVQ_KEY") : read_key(named);
  if (!key) return key.error();
  const std::string told = options.coordinator_key.empty() ? variable("HIVQ_COORDINATOR_KEY") : options.coordinator_key;
  if (!told.empty()) {
    auto known = parse_public_key(told);
    if (!known) return error("the coordinator's key: {}", known.error().message);
    key->coordinator_key = *known;
  }
  return std::optional(std::move(*key));
}

Result<Credentials> credentials_of(const KeyFile& key, const std::string& where_it_came_from) {
  if (key.coordinator_key.empty()) {
    return error(
        "{} does not tell the coordinator's public key: name it with --coordinator-key or HIVQ_COORDINATOR_KEY (hivq "
        "keys list, on the "
        "coordinator's machine, prints it)",
        where_it_came_from);
  }
  return Credentials{key.key, key.coordinator_key};
}

Result<std::optional<Credentials>> said_credentials(const KeyOptions& options) {
  auto key = said_key(options);
  if (!key) return key.error();
  if (!*key) return std::optional<Credentials>();
  auto made = credentials_of(**key, options.key.empty() ? "HIVQ_KEY" : options.key);
  if (!made) return made.error();
  return std::optional(std::move(*made));
}

bool is_loopback(std::string_view address) {
  if (const size_t scheme = address.find("://"); scheme != address.npos) address.remove_prefix(scheme + 3);
  if (const size_t colon = address.rfind(':');
      colon != address.npos && !address.ends_with(']') && (address.find(':') == colon || address[colon - 1] == ']')) {
    address = address.substr(0, colon);
  }
  // `127.example.com` is a name, which leads wherever its owner likes.
  in_addr number{};
  const bool numeric = inet_pton(AF_INET, std::string(address).c_str(), &number) == 1;
  return address == "localhost" || (numeric && address.starts_with("127.")) || address == "[::1]" || address == "::1";
}

}  // namespace hivq
