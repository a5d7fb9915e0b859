#include "common/ids.h"

#include <gtest/gtest.h>

#include <set>

#include "common/sha256.h"

namespace hivq {
namespace {

TEST(Ids, ATrialIsReadAsItIsPrinted) {
  EXPECT_EQ(to_string(TrialId{7, 3}), "7/3");
  EXPECT_EQ(parse_trial_id("7/3"), (TrialId{7, 3}));
  EXPECT_EQ(parse_trial_id("18446744073709551615/0"), (TrialId{UINT64_MAX, 0}));
}

TEST(Ids, WhatIsNoTrialIsRefused) {
  for (const char* text : {"", "7", "7/", "/3", "7/3x", "7//3", "-1/3", "7/ 3", "18446744073709551616/0", "a/b"}) {
    EXPECT_FALSE(parse_trial_id(text)) << text;
  }
}

TEST(Ids, RandomIdsAreSixteenHexadecimalDigitsAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string id = random_id();
    EXPECT_EQ(id.size(), 16u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
}

// FIPS 180-2, appendix B.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace hivq
