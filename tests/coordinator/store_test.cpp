#include "coordinator/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "coordinator/series.h"

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
  Store open_again(Store store) {
    { Store closed = std::move(store); }
    return open();
  }
  static Write put(Family family, std::string key, std::string value) {
    return {family, std::move(key), std::move(value)};
  }
  static CheckpointRow checkpoint(int64_t step) { return {{step, 4, {"h"}}, 0, std::nullopt, false, false}; }
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
    commit(store, {put(Family::jobs, "a", "1"), put(Family::logs, "a", "2"),
                   put(Family::blobs, "b", std::string(5 << 20, 'x'))});
    commit(store, {{Family::jobs, "a", std::nullopt}, put(Family::jobs, "c", std::string("\0\xff", 2))});
  }
  Store store = open();
  EXPECT_EQ(get(store, Family::jobs, "a"), std::nullopt);
  EXPECT_EQ(get(store, Family::jobs, "c"), std::string("\0\xff", 2));
  EXPECT_EQ(get(store, Family::logs, "a"), "2");
  EXPECT_EQ(get(store, Family::blobs, "b"), std::string(5 << 20, 'x'));
}

TEST_F(StoreTest, ScansAPrefixInTheOrderOfNumbers) {
  Store store = open();
  const TrialId trial{1, 2}, next{1, 3};
  for (int64_t step : {300, 2, 70'000, 0}) commit(store, {put(Family::checkpoints, checkpoint_key(trial, step), "x")});
  commit(store, {put(Family::checkpoints, checkpoint_key(next, 1), "x")});
  std::vector<uint64_t> steps;
  auto scanned = store.scan(Family::checkpoints, key_of(trial), [&](std::string_view key, auto) {
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
  waits.start = {2, 0};
  waits.start_step = 3;
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
          put(Family::checkpoints, checkpoint_key(ended_trial.id, 3), pack(checkpoint(3))),
          put(Family::checkpoints, checkpoint_key(ended_trial.id, 4), pack(checkpoint(4))),
          put(Family::checkpoints, checkpoint_key(waits.id, 5), pack(checkpoint(5))),
          put(Family::meta, "next_epoch", key_of(uint64_t{9})),
          put(Family::events, key_of(uint64_t{40}), pack(EventRow{})),
          put(Family::events, key_of(uint64_t{41}), pack(EventRow{}))});
  auto snapshot = store.snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  EXPECT_EQ(snapshot->jobs.size(), 2u);
  EXPECT_EQ(snapshot->trials.size(), 1u);  // of jobs that have not ended
  EXPECT_EQ(snapshot->gangs.size(), 1u);
  EXPECT_EQ(snapshot->launches.size(), 1u);
  EXPECT_EQ(snapshot->checkpoints.size(), 1u);  // of jobs that have not ended …
  EXPECT_EQ(snapshot->checkpoints.at({1, 0}).at(5).manifest.step, 5);
  EXPECT_EQ(snapshot->starts.size(), 1u);  // … and what their trials start from
  EXPECT_EQ(snapshot->starts.at({TrialId{2, 0}, 3}).manifest.step, 3);
  EXPECT_EQ(snapshot->next_epoch, 9u);
  EXPECT_EQ(snapshot->first_event, 40u);
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
        std::vector<Write> writes{put(Family::jobs, "n", key_of(n)), put(Family::logs, "n", key_of(n)),
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
      for (Family family : {Family::logs, Family::leases}) {
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
              "the disk of " + folder_ + " is full: free space there; nothing acknowledged is lost");
    EXPECT_TRUE(store.full());
    // What is committed can be read, and nothing else comes in.
    EXPECT_EQ(get(store, Family::meta, "n"), key_of(acknowledged));
    Write more{Family::jobs, "more", std::string(200'000, 'x')};
    EXPECT_FALSE(store.commit({&more, 1}));
    EXPECT_EQ(get(store, Family::jobs, "more"), std::nullopt);
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

std::string random_bytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>(random());  // does not compress
  return bytes;
}

TEST_F(StoreTest, OnceThereIsSpaceAgainItGoesOnWithoutAReopen) {
  if (mount("none", folder_.c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "this user may not mount a tmpfs";
  Store store = open();
  uint32_t acknowledged = 0;
  const auto commit_next = [&] {
    std::vector<Write> writes{put(Family::blobs, key_of(acknowledged), random_bytes(100'000, acknowledged)),
                              put(Family::meta, "n", key_of(acknowledged + 1))};
    return store.commit(writes);
  };
  while (commit_next()) ASSERT_LT(++acknowledged, 1000u);
  ASSERT_GT(acknowledged, 20u);
  EXPECT_FALSE(store.resume());
  EXPECT_TRUE(store.full());
  ASSERT_EQ(mount("none", folder_.c_str(), "tmpfs", MS_REMOUNT, "size=100m"), 0);
  // RocksDB tries by itself, too, and is busy while it does.
  auto resumed = store.resume();
  for (int tries = 0; !resumed && tries < 100; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    resumed = store.resume();
  }
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_FALSE(store.full());
  ASSERT_TRUE(commit_next());  // the very one that failed
  ++acknowledged;
  for (int i = 0; i < 100; ++i, ++acknowledged) ASSERT_TRUE(commit_next());
  // And what came before and after is there when it is opened again.
  store = open_again(std::move(store));
  EXPECT_EQ(get(store, Family::meta, "n"), key_of(acknowledged));
  for (uint32_t i = 0; i < acknowledged; ++i) {
    ASSERT_EQ(get(store, Family::blobs, key_of(i)), random_bytes(100'000, i)) << i;
  }
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

// ---- Points ----

TEST_F(StoreTest, PointsComeTogetherInTheirRowAcrossFlushesAndReopens) {
  const TrialId trial{1, 2};
  std::vector<MetricPoint> expected;
  {
    Store store = open();
    for (int64_t step = 0; step < 3000; step += 3) {
      std::vector<MetricPoint> points;
      for (int64_t i = step; i < step + 3; ++i) points.push_back({i, 1.0 / static_cast<double>(i + 1)});
      expected.insert(expected.end(), points.begin(), points.end());
      Write write{Family::points, points_key(trial, "loss", step), encode_points(points), true};
      if (step / steps_of_row != (step + 2) / steps_of_row) {  // as the core does, a row's points alone
        for (const auto& point : points) {
          write = {Family::points, points_key(trial, "loss", point.step), encode_points({&point, 1}), true};
          ASSERT_TRUE(store.commit({&write, 1}));
        }
      } else {
        ASSERT_TRUE(store.commit({&write, 1}));
      }
      if (step == 1500) store = open_again(std::move(store));
    }
    // A later attempt runs some steps again.
    const MetricPoint again{1500, -1};
    expected[1500] = again;
    Write write{Family::points, points_key(trial, "loss", 1500), encode_points({&again, 1}), true};
    ASSERT_TRUE(store.commit({&write, 1}));
    ASSERT_TRUE(store.compact());
  }
  Store store = open();
  const auto same = [](const MetricPoint& a, const MetricPoint& b) { return a.step == b.step && a.value == b.value; };
  auto all = read_series(store, trial, "").value().at("loss");
  EXPECT_TRUE(std::ranges::equal(all, expected, same));
  auto newest = read_series(store, trial, "lo", 1100).value().at("loss");
  EXPECT_TRUE(std::ranges::equal(newest, std::span(expected).last(1100), same));
}

TEST_F(StoreTest, AChunkThatIsNamedIsNotWrittenAgain) {
  Store store = open();
  const std::string hash(64, 'a');
  commit(store, {put(Family::blobs, hash, "the bytes"), put(Family::uses, use_key(hash, {1, 0}, 3), "")});
  commit(store, {put(Family::blobs, hash, "not written"), put(Family::uses, use_key(hash, {1, 1}, 3), "")});
  EXPECT_EQ(get(store, Family::blobs, hash), "the bytes");
  commit(store, {{Family::uses, use_key(hash, {1, 0}, 3), {}}, {Family::uses, use_key(hash, {1, 1}, 3), {}}});
  commit(store, {put(Family::blobs, hash, "written")});
  EXPECT_EQ(get(store, Family::blobs, hash), "written");
}

// ---- Backup ----

TEST_F(StoreTest, ABackupIsTheStoreOfItsTimeAndSharesWhatIsTheSame) {
  const std::string backups = folder_ + "/backups";
  Store store = open();
  for (uint32_t i = 0; i < 20; ++i) commit(store, {put(Family::blobs, key_of(i), random_bytes(200'000, i))});
  commit(store, {put(Family::jobs, "a", "1")});
  auto first = store.backup(backups);
  ASSERT_TRUE(first) << first.error().message;
  // While it is written, too.
  std::atomic<bool> stop{false};
  Result<Store::BackupInfo> second = error("not begun");
  std::thread copying([&] {
    second = store.backup(backups);
    stop = true;
  });
  uint64_t commits = 0;
  while (!stop) commit(store, {put(Family::jobs, "b", key_of(++commits))});
  copying.join();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->number, first->number + 1);
  commit(store, {put(Family::jobs, "a", "later")});
  EXPECT_EQ(Store::backups(backups).value().size(), 2u);

  for (uint64_t number : {first->number, uint64_t{0}}) {
    const std::string target = fmt::format("{}/restored-{}", folder_, number);
    auto done = Store::restore(backups, target, number);
    ASSERT_TRUE(done) << done.error().message;
    Store restored = std::move(Store::open(target).value());
    EXPECT_EQ(get(restored, Family::jobs, "a"), "1");
    EXPECT_EQ(get(restored, Family::jobs, "b").has_value(), number == 0);
    for (uint32_t i = 0; i < 20; ++i) EXPECT_EQ(get(restored, Family::blobs, key_of(i)), random_bytes(200'000, i));
  }
  auto third = store.backup(backups, 2);
  ASSERT_TRUE(third) << third.error().message;
  std::vector<uint64_t> left;
  const auto listed = Store::backups(backups).value();
  for (const auto& backup : listed) left.push_back(backup.number);
  EXPECT_EQ(left, (std::vector<uint64_t>{second->number, third->number})) << "the oldest has gone";
  ASSERT_TRUE(Store::restore(backups, folder_ + "/restored", second->number)) << "what they shared is still there";

  auto again = Store::restore(backups, folder_ + "/restored-0");
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("holds a store already"), std::string::npos);
}

TEST_F(StoreTest, ADamagedBackupIsNotRestored) {
  const std::string backups = folder_ + "/backups";
  {
    Store store = open();
    for (uint32_t i = 0; i < 20; ++i) commit(store, {put(Family::blobs, key_of(i), random_bytes(200'000, i))});
    ASSERT_TRUE(store.backup(backups));
  }
  ASSERT_TRUE(damage(backups + "/private/1", ".log"));
  auto done = Store::restore(backups, folder_ + "/restored");
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("is damaged or not there"), std::string::npos) << done.error().message;
  EXPECT_FALSE(fs::exists(folder_ + "/restored/store"));
  auto none = Store::restore(folder_ + "/nothing", folder_ + "/restored");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("there is no backup in"), std::string::npos) << none.error().message;
}

TEST_F(StoreTest, CompactionGivesTheSpaceOfWhatWasErasedBack) {
  Store store = open();
  for (uint32_t i = 0; i < 60; ++i) commit(store, {put(Family::blobs, key_of(i), random_bytes(1 << 20, i))});
  store = open_again(std::move(store));
  for (uint32_t i = 0; i < 50; ++i) commit(store, {{Family::blobs, key_of(i), std::nullopt}});
  auto sizes = store.compact();
  ASSERT_TRUE(sizes) << sizes.error().message;
  EXPECT_GT(sizes->first, 55u << 20);
  EXPECT_LT(sizes->second, 25u << 20);
  for (uint32_t i = 50; i < 60; ++i) EXPECT_EQ(get(store, Family::blobs, key_of(i)), random_bytes(1 << 20, i));
}

}  // namespace
}  // namespace hivq
