// Data of schema 1 (tests/coordinator/schema1, written by the code of its time) brought to schema 2.

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/sha256.h"
#include "coordinator/garbage.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"
#include "coordinator/store.h"
#include "coordinator/verify.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

class Migration : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_migration_" + std::to_string(getpid());
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    fs::copy(HIVQ_SOURCE_DIR "/tests/coordinator/schema1/store", folder_ + "/store", fs::copy_options::recursive);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void expect_curves(const Store& store) {
    for (uint64_t index : {0, 1}) {
      auto series = read_series(store, {1, index}, "").value();
      const auto& loss = series["train/loss"];
      ASSERT_EQ(loss.size(), index == 0 ? 2500u : 200u);
      for (size_t i = 0; i < loss.size(); ++i) {
        ASSERT_EQ(loss[i].step, static_cast<int64_t>(i));
        ASSERT_EQ(loss[i].value, 1.0 / (1.0 + static_cast<double>(i)) + static_cast<double>(index));
      }
      ASSERT_EQ(series["auroc"].size(), index == 0 ? 3u : 1u);
      EXPECT_EQ(series["auroc"].back().value, index == 0 ? 0.2 : 1.0);
    }
  }
  static std::vector<int64_t> kept(const Store& store, const TrialId& trial) {
    std::vector<int64_t> steps;
    for (const auto& [step, row] : read_checkpoints(store, trial).value()) steps.push_back(step);
    return steps;
  }
  static void expect_whole(const Store& store) {
    auto seen = verify(store).value();
    for (const auto& finding : seen.findings) ADD_FAILURE() << finding.what;
    EXPECT_EQ(seen.jobs, 4u);
    EXPECT_EQ(seen.checkpoints, 4u);
  }
};

TEST_F(Migration, KeepsEveryPointAndCheckpoint) {
  for (int opening = 0; opening < 2; ++opening) {
    auto store = Store::open(folder_);
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_EQ(store->get(Family::meta, "schema_version").value(), key_of(uint64_t{2}));
    expect_curves(*store);
    EXPECT_EQ(kept(*store, {1, 0}), std::vector<int64_t>{2400});
    EXPECT_EQ(kept(*store, {1, 1}), std::vector<int64_t>{2400});
    EXPECT_EQ(kept(*store, {2, 0}), (std::vector<int64_t>{10, 20}));  // job 3 starts from step 10
    expect_whole(*store);
  }
  std::vector<std::string> families;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, folder_ + "/store", &families).ok());
  EXPECT_EQ(std::ranges::count(families, "metrics"), 0);
}

TEST_F(Migration, ACoreGoesOnWithItAndCollectsWhatNobodyNeeds) {
  Store store = std::move(Store::open(folder_).value());
  Effects effects;
  Core core({}, store.snapshot().value(), [&](const TrialId& id) { return read_checkpoints(store, id); }, 5000, effects);
  ASSERT_TRUE(store.commit(effects.writes));
  const auto step = [&](Body body) {
    Effects next;
    core.step(Received{"client", {1, std::move(body)}}, 6000, next);
    ASSERT_TRUE(store.commit(next.writes));
    ASSERT_TRUE(store.commit(collect_garbage(store, ChunkReaders(0), 6000, 0).value()));
  };
  const auto has = [&](const std::string& bytes) { return store.get(Family::blobs, sha256_hex(bytes)).value().has_value(); };
  EXPECT_TRUE(has("two at 10") && has("two at 20") && has("staged one"));
  step(Cancel{3});  // its trials were to start from 2/0 at step 10
  EXPECT_EQ(kept(store, {2, 0}), std::vector<int64_t>{20});
  EXPECT_FALSE(has("two at 10"));
  step(Cancel{2});  // its lease ends, with a checkpoint that never became whole
  EXPECT_FALSE(has("staged one") || has("staged two"));
  EXPECT_TRUE(has("two at 20") && has("shared"));
  EXPECT_TRUE(verify(store).value().findings.empty());
}

/// Many more points of schema 1, so that the migration takes a while.
void add_old_points(const std::string& path, int64_t count) {
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open({}, path, families, &handles, &opened).ok());
  std::unique_ptr<rocksdb::DB> db(opened);
  for (size_t i = 0; i < names.size(); ++i) {
    rocksdb::WriteBatch batch;
    for (int64_t step = 0; names[i] == "metrics" && step < count; ++step) {
      std::string key = key_of(TrialId{1, 0}) + "more";
      key.push_back('\0');
      append(key, static_cast<uint64_t>(step));
      ASSERT_TRUE(batch.Put(handles[i], key, pack(static_cast<double>(step))).ok());
    }
    ASSERT_TRUE(db->Write({}, &batch).ok());
    db->DestroyColumnFamilyHandle(handles[i]);
  }
}

TEST_F(Migration, KilledAnywhereItBeginsAgainAndLosesNothing) {
  constexpr int64_t count = 150'000;
  const auto in_child = [](const std::function<void()>& action, useconds_t kill_after) {
    pid_t child = fork();
    if (child == 0) {
      action();
      _exit(0);
    }
    if (kill_after > 0) {
      usleep(kill_after);
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
  };
  in_child([&] { add_old_points(folder_ + "/store", count); }, 0);
  int killed = 0;
  for (useconds_t after = 20'000; after < 2'000'000; after += after / 2) {
    if (!in_child([&] { (void)Store::open(folder_); }, after)) break;
    ++killed;
  }
  EXPECT_GT(killed, 1);
  Store store = std::move(Store::open(folder_).value());
  expect_curves(store);
  auto more = read_series(store, {1, 0}, "more").value()["more"];
  ASSERT_EQ(more.size(), static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) ASSERT_EQ(more[static_cast<size_t>(i)].value, static_cast<double>(i));
  expect_whole(store);
}

}  // namespace
}  // namespace hivq
