#include "common/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "common/messages.h"

namespace hivq {
namespace {

struct Older {
  int64_t step = 7;
  std::string text = "default";
  HIVQ_FIELDS(step, text)
};
struct Newer {
  std::string text;
  std::vector<double> values;
  HIVQ_FIELDS(text, values)
};
struct Wrong {
  std::string step = "seven";
  HIVQ_FIELDS(step)
};

TEST(Wire, IgnoresUnknownFieldsAndKeepsDefaultsOfMissingOnes) {
  auto read = unpack<Older>(pack(Newer{"new", {1, 2}}));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->text, "new");
  EXPECT_EQ(read->step, 7);
}

TEST(Wire, RefusesAFieldOfAnotherType) {
  EXPECT_FALSE(unpack<Older>(pack(Wrong{})));
  EXPECT_FALSE(unpack<uint64_t>(pack(-1)));
  EXPECT_FALSE(unpack<Older>(""));
}

TEST(Wire, KeepsBytesOfAnyValue) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  EXPECT_EQ(unpack<std::string>(pack(all)).value(), all);
}

TEST(Wire, RefusesHeadersThatClaimMoreThanIsThere) {
  EXPECT_FALSE(unpack<std::vector<int>>(std::string("\xdd\xff\xff\xff\xff\x01", 6)));          // array of 2^32 - 1
  EXPECT_FALSE(unpack<std::string>(std::string("\xdb\xff\xff\xff\xff", 5)));                   // string of 2^32 - 1
  EXPECT_FALSE((unpack<std::map<int, int>>(std::string("\xdf\x7f\xff\xff\xff\x01\x01", 7))));  // map of 2^31
  EXPECT_FALSE(unpack<std::vector<int>>(std::string(100'000, '\x91')));                        // 100,000 arrays deep
}

TEST(Wire, NeverCrashesOnRandomOrMutatedBytes) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Report report{"0123456789abcdef", {{1, 2}, 3}, 4, {pack_item(MetricsItem{5, {{"loss", 0.5}}}), pack_item(EndItem{})}};
  JobDetail detail{{}, "name: x", "", {TrialView{}, TrialView{}}};
  const std::vector<std::string> good{encode({1, report}), encode({2, detail}), encode({3, Assign{}}),
                                      pack_item(CheckpointItem{3, 9, {"a", "b"}})};
  size_t refused = 0;
  for (int round = 0; round < 40'000; ++round) {
    std::string bytes = good[random() % good.size()];
    for (uint32_t changes = 1 + random() % 4; changes > 0; --changes)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    if (random() % 8 == 0) {
      for (auto& byte : bytes) byte = static_cast<char>(random());
    }
    auto message = decode(bytes);
    auto item = unpack_item(bytes);
    refused += !message && !item;
  }
  EXPECT_GT(refused, 10'000u);
}

}  // namespace
}  // namespace hivq
