#include "worker/data/shared_features.h"

#include <c10/util/BFloat16.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

namespace hivq {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kRowFloats = 37;

FeatureLayout layout_of(int64_t rows) { return {std::string(64, 'a'), rows, kRowFloats}; }

float value(int64_t row, int64_t column) { return static_cast<float>(row * kRowFloats + column); }

Status compute_values(int64_t first, std::span<float> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = value(first + static_cast<int64_t>(i) / kRowFloats, static_cast<int64_t>(i) % kRowFloats);
  }
  return {};
}

/// Whether the mapped file holds every row.
bool holds_values(const MappedFeatures& mapped) {
  const auto rows = mapped.rows(0, mapped.layout().rows);
  std::vector<float> expected(rows.size());
  compute_values(0, expected).value();
  return std::equal(rows.begin(), rows.end(), expected.begin());
}

class SharedFeatures : public testing::Test {
 protected:
  std::string folder = testing::TempDir() + fmt::format("/hivq_shared_features_{}", ::getpid());
  std::atomic<int64_t> computed = 0;  // rows
  ComputeRows count_values = [this](int64_t first, std::span<float> rows) {
    computed += static_cast<int64_t>(rows.size()) / kRowFloats;
    return compute_values(first, rows);
  };

  void SetUp() override { fs::remove_all(folder); }
  void TearDown() override { fs::remove_all(folder); }
  /// Permissions do not bind root: a test of them runs as nobody for a while.
  void drop_root() { ASSERT_TRUE(!root || ::seteuid(65534) == 0); }
  void regain_root() { ASSERT_TRUE(!root || ::seteuid(0) == 0); }
  const bool root = ::geteuid() == 0;

  std::string final_file(const FeatureLayout& layout) const { return folder + "/" + layout.key + ".features"; }
  std::string work_file(const FeatureLayout& layout) const { return folder + "/" + layout.key + ".work"; }

  std::shared_ptr<const MappedFeatures> load(const FeatureLayout& layout) {
    auto mapped = shared_features(folder, layout, count_values, {});
    if (!mapped) panic(mapped.error().message);
    return *mapped;
  }
  void flip_byte(const std::string& path, size_t offset) {
    const Descriptor file(::open(path.c_str(), O_RDWR));
    char byte = 0;
    ASSERT_TRUE(read_fully(file, &byte, 1, offset));
    byte = static_cast<char>(byte ^ 4);
    ASSERT_TRUE(write_fully(file, &byte, 1, offset));
  }
};

TEST_F(SharedFeatures, ComputesEveryRowOnceAndMapsItAfterwards) {
  for (const int64_t rows : {1, 255, 256, 257, 1000}) {
    FeatureLayout layout = layout_of(rows);
    layout.key = fmt::format("{:064d}", rows);
    computed = 0;
    EXPECT_TRUE(holds_values(*load(layout)));
    EXPECT_EQ(computed, rows);
    EXPECT_TRUE(holds_values(*load(layout)));
    EXPECT_EQ(computed, rows);
    EXPECT_FALSE(fs::exists(work_file(layout)));
  }
}

TEST_F(SharedFeatures, WorksWithNoRows) { EXPECT_EQ(load(layout_of(0))->rows(0, 0).size(), 0u); }

TEST_F(SharedFeatures, ReportsProgressUpToTheEnd) {
  std::vector<int64_t> seen;
  const FeatureLayout layout = layout_of(600);
  ASSERT_TRUE(shared_features(folder, layout, compute_values, [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 600);
    seen.push_back(done);
  }));
  ASSERT_GT(seen.size(), 10u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 600);
}

TEST_F(SharedFeatures, ThreadsShareTheWorkAndComputeNothingTwice) {
  const FeatureLayout layout = layout_of(20 * 256 + 3);
  std::vector<int64_t> mine(4, 0);
  std::vector<std::thread> threads;
  for (int64_t& rows_of_thread : mine) {
    threads.emplace_back([&] {
      const auto slow = [&](int64_t first, std::span<float> rows) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        rows_of_thread += static_cast<int64_t>(rows.size()) / kRowFloats;
        return count_values(first, rows);
      };
      const auto mapped = shared_features(folder, layout, slow, {});
      ASSERT_TRUE(mapped) << mapped.error().message;
      EXPECT_TRUE(holds_values(**mapped));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(computed, layout.rows);
  for (const int64_t rows : mine) EXPECT_GT(rows, 0);
}

TEST_F(SharedFeatures, ThreadsThatRaceForShardsComputeNothingTwice) {
  for (int round = 0; round < 20; ++round) {
    FeatureLayout layout = layout_of(100 * 256);
    layout.key = fmt::format("{:064d}", round);
    computed = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { EXPECT_TRUE(holds_values(*load(layout))); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(computed, layout.rows);
  }
}

TEST_F(SharedFeatures, ADamagedFileIsComputedAgain) {
  const FeatureLayout layout = layout_of(700);
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  load(layout);
  const size_t rows_begin = layout.row_offset(0), bytes = layout.file_bytes();
  std::vector<size_t> places = {0, 8, 20, 30, 4096, 4096 + 2 * 16, rows_begin, bytes - 1};  // header, table, rows
  for (int i = 0; i < 20; ++i) places.push_back(rows_begin + random() % (bytes - rows_begin));
  for (const size_t place : places) {
    computed = 0;
    flip_byte(final_file(layout), place);
    EXPECT_TRUE(holds_values(*load(layout))) << place;
    EXPECT_EQ(computed, layout.rows) << "the damage at byte " << place << " went unnoticed";
  }
  for (const size_t size : {size_t{0}, size_t{10}, rows_begin, bytes - 1}) {
    computed = 0;
    fs::resize_file(final_file(layout), size);
    EXPECT_TRUE(holds_values(*load(layout))) << size;
    EXPECT_EQ(computed, layout.rows) << "the cut at byte " << size << " went unnoticed";
  }
}

TEST_F(SharedFeatures, GoesOnFromWhatAFailedRunHasDone) {
  const FeatureLayout layout = layout_of(1000);
  const auto fails_late = [&](int64_t first, std::span<float> rows) -> Status {
    if (first >= 600) return error("image {} is damaged", first);
    return count_values(first, rows);
  };
  const auto failed = shared_features(folder, layout, fails_late, {});
  ASSERT_FALSE(failed);
  EXPECT_TRUE(failed.error().message.ends_with("is damaged")) << failed.error().message;
  computed = 0;
  EXPECT_TRUE(holds_values(*load(layout)));
  EXPECT_EQ(computed, 1000 - 512);  // two shards were done
}

TEST_F(SharedFeatures, ADamagedWorkFileIsStartedAfresh) {
  const FeatureLayout layout = layout_of(300);
  fs::create_directories(folder);
  ASSERT_TRUE(write_file(work_file(layout), "not a feature file"));
  EXPECT_TRUE(holds_values(*load(layout)));
}

TEST_F(SharedFeatures, SaysThatTheFolderIsNotWritable) {
  const auto under_a_file = shared_features("/dev/null/cache", layout_of(5), compute_values, {});
  ASSERT_FALSE(under_a_file);
  EXPECT_EQ(
      under_a_file.error().message,
      "cannot write to /dev/null/cache: Not a directory; make the feature cache's folder writable or choose another");

  fs::create_directories(folder);
  fs::permissions(folder, fs::perms{0555});
  drop_root();
  const auto read_only = shared_features(folder, layout_of(5), compute_values, {});
  regain_root();
  fs::permissions(folder, fs::perms::owner_all);
  ASSERT_FALSE(read_only);
  EXPECT_NE(read_only.error().message.find(folder + ": Permission denied; make"), std::string::npos)
      << read_only.error().message;
}

TEST_F(SharedFeatures, AReadOnlyFolderWithTheFileIsEnough) {
  load(layout_of(5));
  fs::permissions(folder, fs::perms{0555});
  drop_root();
  const auto mapped = shared_features(folder, layout_of(5), compute_values, {});
  regain_root();
  fs::permissions(folder, fs::perms::owner_all);
  ASSERT_TRUE(mapped) << mapped.error().message;
  EXPECT_TRUE(holds_values(**mapped));
}

TEST_F(SharedFeatures, SaysHowMuchRoomTheDiskLacks) {
  FeatureLayout layout = layout_of(1);
  layout.row_floats = int64_t{1} << 50;  // 4.5 million GB
  const auto mapped = shared_features(folder, layout, compute_values, {});
  ASSERT_FALSE(mapped);
  EXPECT_EQ(
      mapped.error().message,
      fmt::format("the feature cache {} needs 4503599628 MB, and its disk has no room for them; free some space or "
                  "choose another cache folder",
                  folder));
  EXPECT_FALSE(fs::exists(work_file(layout)));
}

// The process that is killed: it does one shard, half of another, and stops itself while it holds that one's lock.
TEST_F(SharedFeatures, DISABLED_ChildStopsInItsSecondShard) {
  const char* where = std::getenv("HIVQ_TEST_FOLDER");
  ASSERT_NE(where, nullptr) << "another test starts this one";
  const auto stop_half_way = [](int64_t first, std::span<float> rows) {
    if (first >= 256 + 128) ::raise(SIGSTOP);
    return compute_values(first, rows);
  };
  EXPECT_TRUE(shared_features(where, layout_of(1500), stop_half_way, {}));
}

/// This program again, running only the test above.
pid_t start_child(const std::string& folder) {
  std::string filter = "--gtest_filter=SharedFeatures.DISABLED_ChildStopsInItsSecondShard";
  std::string program = "/proc/self/exe", also = "--gtest_also_run_disabled_tests",
              place = "HIVQ_TEST_FOLDER=" + folder;
  std::vector<char*> arguments = {program.data(), filter.data(), also.data(), nullptr}, environment = {place.data()};
  for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  pid_t child = 0;
  check(::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments.data(), environment.data()) == 0,
        "posix_spawn");
  return child;
}

class WithAStoppedProcess : public SharedFeatures {
 protected:
  FeatureLayout layout = layout_of(1500);
  pid_t child = 0;
  void SetUp() override {
    fs::remove_all(folder);
    child = start_child(folder);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  int wait_for_child() {
    int status = 0;
    ::waitpid(child, &status, 0);
    child = 0;
    return status;
  }
  void TearDown() override {
    if (child > 0) {
      ::kill(child, SIGKILL);
      wait_for_child();
    }
    fs::remove_all(folder);
  }
};

TEST_F(WithAStoppedProcess, AKilledOneDoesNotBlockTheOthers) {
  std::atomic<int64_t> done = 0;
  std::thread other([&] {
    const auto mapped = shared_features(folder, layout, count_values, [&](int64_t n, int64_t) { done = n; });
    ASSERT_TRUE(mapped) << mapped.error().message;
    EXPECT_TRUE(holds_values(**mapped));
  });
  // It does the rest, and then waits for the shard that the child holds.
  while (done < 1500 - 256) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(done, 1500 - 256);
  EXPECT_EQ(computed, 1500 - 2 * 256);
  ::kill(child, SIGKILL);
  other.join();
  EXPECT_EQ(done, 1500);
  EXPECT_EQ(computed, 1500 - 256);  // the child's first shard was kept
}

TEST_F(WithAStoppedProcess, ProcessesShareTheWork) {
  std::thread other([&] { EXPECT_TRUE(holds_values(*load(layout))); });
  while (computed < 1500 - 2 * 256) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  int status = 0;
  do {  // it stops itself before every batch that is left to it
    ::kill(child, SIGCONT);
    check(::waitpid(child, &status, WUNTRACED) == child, "waitpid");
  } while (WIFSTOPPED(status));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  child = 0;
  other.join();
  EXPECT_EQ(computed, 1500 - 2 * 256);  // the child computed its two shards
}

TEST_F(SharedFeatures, KeepsHalfOfTheBytesAsBfloat16) {
  FeatureLayout layout = layout_of(300);
  layout.bfloat16 = true;
  const auto mapped = load(layout);
  const auto kept = mapped->bytes(0, 300);
  EXPECT_EQ(kept.size(), 300u * kRowFloats * 2);
  for (const int64_t row : {0, 7, 299}) {
    c10::BFloat16 number;
    std::memcpy(&number, kept.data() + (row * kRowFloats + 5) * 2, 2);
    EXPECT_EQ(static_cast<float>(number), static_cast<float>(c10::BFloat16(value(row, 5))));
  }
  flip_byte(final_file(layout), layout.row_offset(17));
  const int64_t before = computed;
  load(layout);
  EXPECT_EQ(computed, before + 300);  // the damage was found, and the file made anew
}

/// A cache of three sets, each larger than half of what is allowed for two.
class Eviction : public SharedFeatures {
 protected:
  FeatureLayout layout(char key) const {
    FeatureLayout made = layout_of(500);
    made.key = std::string(64, key);
    return made;
  }
  size_t limit = 2 * layout('a').file_bytes();
  std::shared_ptr<const MappedFeatures> load_within(char key) {
    auto mapped = shared_features(folder, layout(key), count_values, {}, limit);
    if (!mapped) panic(mapped.error().message);
    // Times of use are as coarse as the file system's clock.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return *mapped;
  }
  bool has(char key) const { return fs::exists(final_file(layout(key))); }
};

TEST_F(Eviction, WhatWasUsedLongestAgoGoes) {
  load_within('a'), load_within('b');
  load_within('a');
  load_within('c');
  EXPECT_TRUE(has('a'));
  EXPECT_FALSE(has('b'));
  EXPECT_TRUE(has('c'));
}

TEST_F(Eviction, WhatIsInUseStays) {
  const auto used = load_within('a');
  load_within('b');
  load_within('c');
  EXPECT_TRUE(has('a'));
  EXPECT_FALSE(has('b'));
  const auto also = load_within('c'), more = load_within('d');  // all in use: the limit gives way, not the work
  EXPECT_TRUE(has('a') && has('c') && has('d'));
  EXPECT_TRUE(holds_values(*used));
}

TEST_F(Eviction, WithoutALimitNothingGoes) {
  limit = 0;
  for (const char key : {'a', 'b', 'c', 'd'}) load_within(key);
  for (const char key : {'a', 'b', 'c', 'd'}) EXPECT_TRUE(has(key));
}

TEST(Checksum, ShowsEverySingleChangedBit) {
  std::vector<float> values(33, 0.0f);
  const uint64_t zeros = checksum64(std::as_bytes(std::span(values)));
  for (size_t bit = 0; bit < values.size() * 32; ++bit) {
    auto* words = reinterpret_cast<uint32_t*>(values.data());
    words[bit / 32] ^= 1u << bit % 32;
    EXPECT_NE(checksum64(std::as_bytes(std::span(values))), zeros) << bit;
    words[bit / 32] ^= 1u << bit % 32;
  }
  EXPECT_NE(checksum64(std::as_bytes(std::span(values).first(32))), zeros);
}

}  // namespace
}  // namespace hivq
