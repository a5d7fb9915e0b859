#include "coordinator/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

namespace hivq {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  // Not below the build folder: user nobody must reach it.
  std::string folder_ = fs::temp_directory_path().string() + "/hivq_store_" + std::to_string(getpid());
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override {
    umount2(folder_.c_str(), MNT_DETACH);
    fs::remove_all(folder_);
  }
  Store open() { return std::move(Store::open(folder_).value()); }
  static Write put(Family family, std::string key, std::string value) {
    return {family, std::move(key), std::move(value)};
  }
  static std::optional<std::string> get(const Store& store, Family family, const std::string& key) {
    return store.get(family, key).value();
  }
  static void commit(Store& store, const std::vector<Write>& writes) {
    auto status = store.commit(writes);
    ASSERT_TRUE(status) << status.error().message;
  }
  /// What `action` says in a process of its own; it may end that process.
  static std::string in_child(const std::function<std::string()>& action) {
    int pipe_ends[2];
    check(pipe(pipe_ends) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
      std::string said;
      try {
        said = action();
      } catch (const std::exception& e) {
        said = e.what();
      }
      (void)!write(pipe_ends[1], said.data(), said.size());
      _exit(0);
    }
    close(pipe_ends[1]);
    std::string said;
    char buffer[4096];
    for (ssize_t got; (got = read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
      said.append(buffer, static_cast<size_t>(got));
    close(pipe_ends[0]);
    waitpid(child, nullptr, 0);
    return said;
  }
};

TEST_F(StoreTest, KeepsWhatWasCommittedAcrossAReopen) {
  {
    Store store = open();
    commit(store, {put(Family::jobs, "a", "1"), put(Family::metrics, "a", "2"),
                   put(Family::blobs, "b", std::string(5 << 20, 'x'))});
    commit(store, {{Family::jobs, "a", std::nullopt}, put(Family::jobs, "c", std::string("\0\xff", 2))});
  }
  Store store = open();
  EXPECT_EQ(get(store, Family::jobs, "a"), std::nullopt);
  EXPECT_EQ(get(store, Family::jobs, "c"), std::string("\0\xff", 2));
  EXPECT_EQ(get(store, Family::metrics, "a"), "2");
  EXPECT_EQ(get(store, Family::blobs, "b"), std::string(5 << 20, 'x'));
}

TEST_F(StoreTest, ScansAPrefixInTheOrderOfNumbers) {
  Store store = open();
  const TrialId trial{1, 2}, next{1, 3};
  for (int64_t step : {300, 2, 70'000, 0})
    commit(store, {put(Family::metrics, metric_key(trial, "loss", step), pack(1.0 * step))});
  commit(store, {put(Family::metrics, metric_key(next, "loss", 1), pack(0.0))});
  std::vector<uint64_t> steps;
  auto scanned = store.scan(Family::metrics, key_of(trial), [&](std::string_view key, auto) {
    steps.push_back(number_at(key, key.size() - 8));
    return steps.size() < 3;
  });
  ASSERT_TRUE(scanned);
  EXPECT_EQ(steps, (std::vector<uint64_t>{0, 2, 300}));
}

TEST_F(StoreTest, TheSnapshotHoldsWhatACoreNeeds) {
  Store store = open();
  JobRow open_job, ended_job;
  open_job.id = 1;
  open_job.state = State::running;
  ended_job.id = 2;
  ended_job.state = State::finished;
  TrialRow waits, ended_trial;
  waits.id = {1, 0};
  ended_trial.id = {2, 0};
  LaunchRow launch;
  launch.id = "7";
  Hello gang;
  gang.gang = "g";
  commit(store,
         {put(Family::jobs, key_of(uint64_t{1}), pack(open_job)),
          put(Family::jobs, key_of(uint64_t{2}), pack(ended_job)), put(Family::trials, key_of(waits.id), pack(waits)),
          put(Family::trials, key_of(ended_trial.id), pack(ended_trial)), put(Family::gangs, gang_key("g"), pack(gang)),
          put(Family::gangs, launch_key("7"), pack(launch)),
          put(Family::checkpoints, key_of(ended_trial.id), pack(Manifest{3, 4, {"h"}})),
          put(Family::meta, "next_epoch", key_of(uint64_t{9})),
          put(Family::events, key_of(uint64_t{41}), pack(EventRow{}))});
  auto snapshot = store.snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  EXPECT_EQ(snapshot->jobs.size(), 2u);
  EXPECT_EQ(snapshot->trials.size(), 1u);  // of jobs that have not ended
  EXPECT_EQ(snapshot->gangs.size(), 1u);
  EXPECT_EQ(snapshot->launches.size(), 1u);
  EXPECT_EQ(snapshot->checkpoints.at({2, 0}).step, 3);
  EXPECT_EQ(snapshot->next_epoch, 9u);
  EXPECT_EQ(snapshot->next_event, 42u);
}

TEST_F(StoreTest, ARowThatCannotBeReadIsAnErrorAndNoAbsence) {
  Store store = open();
  commit(store, {put(Family::jobs, key_of(uint64_t{1}), "garbage")});
  auto snapshot = store.snapshot();
  ASSERT_FALSE(snapshot);
  EXPECT_NE(snapshot.error().message.find("'jobs'"), std::string::npos) << snapshot.error().message;
}

std::string value_of(uint64_t n) { return std::string(1 + n * 7919 % 20'000, static_cast<char>(n)); }

// Each commit writes the same number to three families. Killed anywhere, all acknowledged numbers are there and the
// three agree. The store is opened in processes of their own only: RocksDB's threads do not survive a fork.
TEST_F(StoreTest, AKillInTheMiddleOfCommitsLosesNothingAcknowledgedAndTearsNothing) {
  std::mt19937 random(1);
  uint64_t least = 0;
  for (int round = 0; round < 12; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
      Store store = open();
      for (uint64_t n = least + 1;; ++n) {
        std::vector<Write> writes{put(Family::jobs, "n", key_of(n)), put(Family::metrics, "n", key_of(n)),
                                  put(Family::blobs, key_of(n), value_of(n)), put(Family::leases, "n", key_of(n))};
        if (!store.commit(writes)) _exit(1);
        (void)!write(pipe_ends[1], &n, sizeof n);
      }
    }
    close(pipe_ends[1]);
    uint64_t acknowledged = least, n = 0;
    // Some are killed while they open, most while they commit.
    if (round % 4 != 0 && read(pipe_ends[0], &n, sizeof n) == sizeof n) acknowledged = n;
    usleep(static_cast<useconds_t>(random() % 60'000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(pipe_ends[0], &n, sizeof n) == sizeof n) acknowledged = n;
    close(pipe_ends[0]);

    std::string said = in_child([&]() -> std::string {
      Store store = open();
      auto value = get(store, Family::jobs, "n");
      uint64_t found = value ? number_at(*value, 0) : 0;
      for (Family family : {Family::metrics, Family::leases}) {
        if (get(store, family, "n") != value) return "a commit is torn";
      }
      for (uint64_t i = 1; i <= found; ++i) {
        if (get(store, Family::blobs, key_of(i)) != value_of(i))
          return fmt::format("the value of commit {} is lost", i);
      }
      if (get(store, Family::blobs, key_of(found + 1))) return "a commit is torn";
      return std::to_string(found);
    });
    uint64_t found = std::strtoull(said.c_str(), nullptr, 10);
    ASSERT_EQ(said, std::to_string(found)) << "round " << round;
    EXPECT_GE(found, acknowledged);
    EXPECT_LE(found, acknowledged + 1);  // committed, and killed before it could say so
    least = found;
  }
  EXPECT_GT(least, 10u);
}

TEST_F(StoreTest, AFolderInUseIsASentence) {
  Store store = open();
  auto said = in_child([&] {
    auto second = Store::open(folder_);
    return second ? "opened" : second.error().message;
  });
  EXPECT_EQ(said, folder_ + " is in use by another coordinator: stop that one, or choose another folder with --data");
}

TEST_F(StoreTest, AFolderThatCannotBeWrittenIsASentence) {
  { Store store = open(); }
  // Root may write anywhere, so another user tries.
  if (geteuid() != 0) fs::permissions(folder_ + "/store", fs::perms::owner_read | fs::perms::owner_exec);
  auto said = in_child([&] {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return std::string("cannot become nobody");
    auto store = Store::open(folder_);
    return store ? "opened" : store.error().message;
  });
  if (geteuid() != 0) fs::permissions(folder_ + "/store", fs::perms::owner_all);
  EXPECT_EQ(
      said,
      folder_ + " cannot be written: give this user the right to write there, or choose another folder with --data");
  said = in_child([&] {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return std::string("cannot become nobody");
    auto store = Store::open("/proc/hivq");
    return store ? "opened" : store.error().message;
  });
  EXPECT_NE(said.find("the folder /proc/hivq cannot be made"), std::string::npos) << said;
}

TEST_F(StoreTest, AFullDiskIsASentenceAndNothingAcknowledgedIsLost) {
  if (mount("none", folder_.c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "this user may not mount a tmpfs";
  uint64_t acknowledged = 0;
  {
    Store store = open();
    Status status;
    while (status && acknowledged < 1000) {
      std::string bytes(100'000, static_cast<char>(acknowledged));
      for (auto& byte : bytes) byte = static_cast<char>(std::rand());  // does not compress
      std::vector<Write> writes{put(Family::blobs, key_of(acknowledged), bytes),
                                put(Family::meta, "n", key_of(acknowledged + 1))};
      status = store.commit(writes);
      acknowledged += static_cast<bool>(status);
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message,
              "the disk of " + folder_ + " is full: free space there and start again; nothing acknowledged is lost");
  }
  ASSERT_GT(acknowledged, 20u);
  auto still_full = Store::open(folder_);
  if (!still_full) {
    EXPECT_NE(still_full.error().message.find("is full"), std::string::npos) << still_full.error().message;
  }
  still_full = error("closed");
  ASSERT_EQ(mount("none", folder_.c_str(), "tmpfs", MS_REMOUNT, "size=100m"), 0);  // space is freed
  Store store = open();
  EXPECT_EQ(get(store, Family::meta, "n"), key_of(acknowledged));
  for (uint64_t i = 0; i < acknowledged; ++i) EXPECT_TRUE(get(store, Family::blobs, key_of(i))) << i;
  commit(store, {put(Family::jobs, "after", "it goes on")});
}

/// Flips a byte in the middle of the largest file of a kind.
bool damage(const std::string& folder, const std::string& extension) {
  fs::path largest;
  uintmax_t size = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension && entry.file_size() > size) {
      largest = entry.path();
      size = entry.file_size();
    }
  }
  if (size == 0) return false;
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(size / 2));
  char byte = static_cast<char>(file.get() ^ 0x55);
  file.seekp(static_cast<std::streamoff>(size / 2));
  file.put(byte);
  return file.good();
}

TEST_F(StoreTest, DamageInTheMiddleOfTheLogIsAnErrorAndNoLoss) {
  in_child([&] {
    Store store = open();
    for (uint64_t i = 0; i < 200; ++i) commit(store, {put(Family::jobs, key_of(i), std::string(1000, 'x'))});
    _exit(0);  // without a flush: all of it is in the log
    return "";
  });
  ASSERT_TRUE(damage(folder_ + "/store", ".log"));
  auto store = Store::open(folder_);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("the data in " + folder_ + " is damaged"), std::string::npos)
      << store.error().message;
}

TEST_F(StoreTest, DamageInATableIsAnErrorWhenItIsRead) {
  for (int i = 0; i < 2; ++i) {  // the second open flushes the log of the first into tables
    Store store = open();
    if (i > 0) break;
    std::vector<Write> writes;
    for (uint64_t n = 0; n < 2000; ++n)
      writes.push_back(put(Family::jobs, key_of(n), std::string(100, static_cast<char>(std::rand()))));
    commit(store, writes);
  }
  ASSERT_TRUE(damage(folder_ + "/store", ".sst"));
  auto store = Store::open(folder_);
  bool noticed = !store;
  if (store) {
    noticed = !store->scan(Family::jobs, "", [](auto, auto) { return true; });
    for (uint64_t n = 0; n < 2000; ++n) noticed |= !store->get(Family::jobs, key_of(n));
  }
  EXPECT_TRUE(noticed);
}

TEST_F(StoreTest, DataOfANewerSchemaIsASentence) {
  {
    Store store = open();
    commit(store, {put(Family::meta, "schema_version", key_of(uint64_t{99}))});
  }
  auto store = Store::open(folder_);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("schema 99"), std::string::npos) << store.error().message;
}

}  // namespace
}  // namespace hivq
