#include "common/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zmq.h>

#include <filesystem>
#include <fstream>

#include "common/allow_list.h"

namespace hivq {
namespace {

class Keys : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  static unsigned mode(const std::string& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }

  const std::string folder_ = ::testing::TempDir() + "hivq-keys";
};

TEST_F(Keys, ThePublicKeyIsTheOneThatZeroMqFinds) {
  for (int i = 0; i < 10; ++i) {
    const KeyPair pair = new_key_pair();
    char secret[41], expected[41], ours[41];
    zmq_z85_encode(secret, reinterpret_cast<const uint8_t*>(raw_key(pair.secret).data()), 32);
    ASSERT_EQ(zmq_curve_public(expected, secret), 0);
    zmq_z85_encode(ours, reinterpret_cast<const uint8_t*>(raw_key(pair.public_key).data()), 32);
    EXPECT_STREQ(ours, expected);
  }
}

TEST_F(Keys, ASecretIsReadAsHexadecimalAndAsBase64) {
  const std::string secret = "77076d0a7318a57d3c16c17251b26645c6c2f6e4d8f4d0b5c5f1c1a2d3e4f5a6";
  const auto hex = key_pair_of(secret), base64 = key_pair_of("dwdtCnMYpX08FsFyUbJmRcbC9uTY9NC1xfHBotPk9aY=");
  ASSERT_TRUE(hex && base64);
  EXPECT_EQ(base64->secret, secret);
  EXPECT_EQ(base64->public_key, hex->public_key);
  EXPECT_NE(hex->public_key, secret);
  for (const std::string wrong :
       {"", "12", "77076d0a", "zz076d0a7318a57d3c16c17251b26645c6c2f6e4d8f4d0b5c5f1c1a2d3e4f5a6",
        "dwdtCnMYpX08FsFyUbJmRcbC9uTY9NC1xfHBotPk9aY"}) {
    EXPECT_FALSE(key_pair_of(wrong)) << wrong;
  }
}

TEST_F(Keys, AKeyFileComesBackAndIsItsOwnersAlone) {
  const KeyFile key{"alice", "submitter", "tcp://host:4487", new_key_pair().public_key, new_key_pair()};
  const std::string path = folder_ + "/alice.json";
  ASSERT_TRUE(write_key(path, key));
  EXPECT_EQ(mode(path), 0600u);
  const auto read = read_key(path);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->name, "alice");
  EXPECT_EQ(read->coordinator, "tcp://host:4487");
  EXPECT_EQ(read->coordinator_key, key.coordinator_key);
  EXPECT_EQ(read->key.secret, key.key.secret);
  EXPECT_EQ(read->key.public_key, key.key.public_key);
}

TEST_F(Keys, ErrorsNameTheFileAndTheFieldAndNeverTheSecret) {
  const std::string almost = std::string(63, 'a') + "!";
  const auto wrong = read_key(write("wrong.json", "{\"secret\": \"" + almost + "\"}"));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("wrong.json: field secret: "), std::string::npos) << wrong.error().message;
  EXPECT_EQ(wrong.error().message.find(almost), std::string::npos);
  const auto bare = read_key(write("bare", almost));
  ASSERT_FALSE(bare);
  EXPECT_EQ(bare.error().message.find(almost), std::string::npos);
  EXPECT_NE(read_key(folder_ + "/none").error().message.find("cannot be read"), std::string::npos);
}

TEST_F(Keys, ATokenTellsNothingOfTheSecretAndIsAlwaysTheSame) {
  const KeyPair pair = new_key_pair();
  const std::string token = http_token(pair.secret);
  EXPECT_EQ(token, http_token(pair.secret));
  EXPECT_EQ(token.size(), 5 + 64u);
  EXPECT_NE(token.substr(5), pair.secret);
  EXPECT_NE(token, http_token(new_key_pair().secret));
}

TEST_F(Keys, TheFolderIsMadeOnceAndStaysAsItIs) {
  const std::string keys = folder_ + "/keys";
  ASSERT_TRUE(make_keys_folder(keys));
  EXPECT_EQ(mode(keys), 0700u);
  EXPECT_EQ(mode(own_key_path(keys)), 0600u);
  const auto own = read_key(own_key_path(keys)).value();
  EXPECT_EQ(coordinators_public_key(keys).value(), own.key.public_key);
  EXPECT_EQ(read_key(gang_key_path(keys)).value().coordinator_key, own.key.public_key);
  auto list = read_allow_list(allowed_path(keys)).value();
  ASSERT_EQ(list.keys().size(), 2u);
  EXPECT_EQ(list.by_name("operator")->role, Role::admin);
  EXPECT_EQ(list.by_name("gang")->role, Role::gang);
  ASSERT_TRUE(make_keys_folder(keys));
  EXPECT_EQ(read_key(own_key_path(keys)).value().key.secret, own.key.secret);
  EXPECT_EQ(read_allow_list(allowed_path(keys)).value().keys().size(), 2u);
  // Another own key, kept elsewhere: the folder's keys go with it.
  const KeyPair other = new_key_pair();
  ASSERT_TRUE(make_keys_folder(keys, other));
  EXPECT_EQ(coordinators_public_key(keys).value(), other.public_key);
  EXPECT_EQ(read_key(operator_key_path(keys)).value().coordinator_key, other.public_key);
}

TEST_F(Keys, ARevokedInnerKeyIsNotMadeAgain) {
  const std::string keys = folder_ + "/keys";
  ASSERT_TRUE(make_keys_folder(keys));
  ASSERT_TRUE(revoke_key(keys, "gang"));
  std::filesystem::remove(gang_key_path(keys));
  ASSERT_TRUE(make_keys_folder(keys));
  EXPECT_FALSE(std::filesystem::exists(gang_key_path(keys)));
  EXPECT_NE(read_allow_list(allowed_path(keys)).value().by_name("gang")->revoked, 0);
}

TEST_F(Keys, KeysAreAddedFoundAndRevoked) {
  const std::string keys = folder_ + "/keys";
  const auto alice = add_key(keys, "alice", Role::submitter);
  ASSERT_TRUE(alice) << alice.error().message;
  const KeyPair bobs = new_key_pair();
  ASSERT_TRUE(add_key(keys, "bob", Role::viewer, bobs.public_key));
  EXPECT_NE(add_key(keys, "alice", Role::viewer).error().message.find("there is a key alice already"),
            std::string::npos);
  EXPECT_NE(add_key(keys, "carol", Role::viewer, bobs.public_key).error().message.find("the one of bob"),
            std::string::npos);
  EXPECT_NE(add_key(keys, "../x", Role::viewer).error().message.find("no name"), std::string::npos);
  auto list = read_allow_list(allowed_path(keys)).value();
  EXPECT_EQ(list.by_public_key(alice->key.public_key)->name, "alice");
  EXPECT_EQ(list.by_token(http_token(alice->key.secret))->name, "alice");
  EXPECT_EQ(list.by_token("hivq_"), nullptr);
  EXPECT_EQ(list.by_token(""), nullptr) << "a key without a token has none, not the empty one";
  ASSERT_TRUE(revoke_key(keys, "alice"));
  EXPECT_NE(read_allow_list(allowed_path(keys)).value().by_name("alice")->revoked, 0);
  EXPECT_NE(revoke_key(keys, "nobody").error().message.find("there is no key nobody"), std::string::npos);
}

TEST_F(Keys, AWrongListNamesTheEntryAndTheField) {
  const auto message = [&](const std::string& text) {
    return read_allow_list(write("allowed.json", text)).error().message;
  };
  EXPECT_NE(message("[]").find("allowed.json is no list of keys"), std::string::npos);
  EXPECT_NE(message(R"({"keys": [{"name": "a", "role": "king", "public": ""}]})").find("key 1: field role: 'king'"),
            std::string::npos);
  EXPECT_NE(message(R"({"keys": [{"name": "a", "role": "viewer", "public": "12"}]})").find("key 1: field public: '12'"),
            std::string::npos);
  EXPECT_NE(message(R"({"keys": [{"role": "viewer"}]})").find("key 1: "), std::string::npos);
}

TEST_F(Keys, TheEnvironmentNamesAKeyOrIsOne) {
  const KeyPair pair = new_key_pair(), coordinator = new_key_pair();
  setenv("HIVQ_KEY", pair.secret.c_str(), 1);
  EXPECT_NE(said_credentials({}).error().message.find("HIVQ_COORDINATOR_KEY"), std::string::npos);
  setenv("HIVQ_COORDINATOR_KEY", coordinator.public_key.c_str(), 1);
  auto said = said_credentials({});
  ASSERT_TRUE(said && *said);
  EXPECT_EQ((*said)->key.public_key, pair.public_key);
  EXPECT_EQ((*said)->coordinator_key, coordinator.public_key);
  setenv("HIVQ_KEY", write("key", pair.secret + "\n").c_str(), 1);
  said = said_credentials({});
  ASSERT_TRUE(said && *said);
  EXPECT_EQ((*said)->key.secret, pair.secret);
  for (const std::string& secret : {pair.secret + "\n", "{\"secret\": \"" + pair.secret + "\"}\n"}) {
    setenv("HIVQ_KEY", secret.c_str(), 1);
    said = said_credentials({});
    ASSERT_TRUE(said && *said) << said.error().message;
    EXPECT_EQ((*said)->key.secret, pair.secret);
  }
  for (const std::string& broken : {pair.secret.substr(1), "{\"secret\": \"" + pair.secret.substr(1) + "\"}"}) {
    setenv("HIVQ_KEY", broken.c_str(), 1);
    const std::string told = said_credentials({}).error().message;
    EXPECT_NE(told.find("HIVQ_KEY"), std::string::npos) << told;
    EXPECT_EQ(told.find(pair.secret.substr(1, 20)), std::string::npos) << "a secret in an error: " << told;
  }
  unsetenv("HIVQ_KEY");
  unsetenv("HIVQ_COORDINATOR_KEY");
  EXPECT_FALSE(said_credentials({}).value());
}

TEST_F(Keys, LoopbackIsTold) {
  for (const char* here : {"tcp://127.0.0.1:4487", "http://localhost:80", "tcp://[::1]:1", "127.8.9.1", "::1"}) {
    EXPECT_TRUE(is_loopback(here)) << here;
  }
  for (const char* elsewhere : {"tcp://0.0.0.0:4487", "tcp://10.0.0.1:1", "http://[::]:80", "tcp://*:4487",
                                "tcp://host:1", "12", "http://127.evil.example:4488", "127.0.0.1.evil.example"}) {
    EXPECT_FALSE(is_loopback(elsewhere)) << elsewhere;
  }
}

}  // namespace
}  // namespace hivq
