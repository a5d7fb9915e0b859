#include "coordinator/verify.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "common/sha256.h"
#include "coordinator/points.h"

namespace hivq {
namespace {

/// A store with one trial of everything, which each test damages in one way.
class Verify : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_verify_" + std::to_string(getpid());
  std::optional<Store> store_;

  void SetUp() override {
    std::filesystem::remove_all(folder_);
    store_ = std::move(Store::open(folder_).value());
    JobRow job;
    job.id = 1;
    job.trials = 1;
    TrialRow trial;
    trial.id = {1, 0};
    trial.state = State::running;
    LeaseRow lease{{{1, 0}, 4}, "g", 7, true, false, {sha256_hex("staged")}};
    const MetricPoint point{3, 0.5};
    put(Family::jobs, key_of(uint64_t{1}), pack(job));
    put(Family::trials, key_of(trial.id), pack(trial));
    put(Family::leases, key_of(trial.id), pack(lease));
    put(Family::points, points_key(trial.id, "loss", 3), encode_points({&point, 1}));
    put(Family::blobs, sha256_hex("weights"), "weights");
    put(Family::blobs, sha256_hex("staged"), "staged");
    put(Family::uses, use_key(sha256_hex("weights"), trial.id, 10), "");
    put(Family::uses, use_key(sha256_hex("staged"), trial.id, staged_step), "");
    put(Family::checkpoints, checkpoint_key(trial.id, 10), pack(CheckpointRow{{10, 7, {sha256_hex("weights")}}, 0, {}, false, false}));
    put(Family::logs, log_key(lease.lease, 1), pack(EventRow{1, "a line"}));
    put(Family::events, key_of(uint64_t{1}), pack(EventRow{1, "began"}));
    put(Family::events, key_of(uint64_t{2}), pack(EventRow{1, "went on"}));
    PictureView picture;
    picture.image = sha256_hex("an image"), picture.map = sha256_hex("a map");
    put(Family::pictures, picture_key(trial.id, PictureKey::picture, 0), pack(picture));
    put(Family::pictures, picture_key(trial.id, PictureKey::map, 0), "a map");
    put(Family::pictures, shared_picture_key(1, picture.image), "an image");
    put(Family::pictures, picture_key(trial.id, PictureKey::figure, 2), pack(FigureView{2, 1, 1, 1, sha256_hex("a figure")}));
    put(Family::pictures, picture_key(trial.id, PictureKey::figure_png, 2), "a figure");
    put(Family::meta, "next_epoch", key_of(uint64_t{5}));
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void put(Family family, const std::string& key, std::optional<std::string> value) {
    Write write{family, key, std::move(value)};
    ASSERT_TRUE(store_->commit({&write, 1}));
  }
  void erase(Family family, const std::string& key) { put(family, key, std::nullopt); }
  /// What is found, and with what remedy.
  std::string findings() {
    std::string text;
    for (const auto& finding : verify(*store_).value().findings) text += finding.what + "; " + finding.remedy + "\n";
    return text;
  }
  bool finds(const std::string& sentence) {
    const std::string text = findings();
    if (text.find(sentence) != std::string::npos) return true;
    ADD_FAILURE() << "found: " << text;
    return false;
  }
};

TEST_F(Verify, AWholeStoreIsWholeAndCounted) {
  EXPECT_EQ(findings(), "");
  auto seen = verify(*store_).value();
  EXPECT_EQ(seen.jobs, 1u);
  EXPECT_EQ(seen.trials, 1u);
  EXPECT_EQ(seen.points, 1u);
  EXPECT_EQ(seen.checkpoints, 1u);
  EXPECT_EQ(seen.chunks, 2u);
  EXPECT_EQ(seen.chunk_bytes, 13u);
  EXPECT_EQ(seen.log_lines, 1u);
  EXPECT_EQ(seen.events, 2u);
  EXPECT_EQ(seen.pictures, 3u);
}

TEST_F(Verify, APictureThatIsDamagedOrGoneIsNamedWithItsTrial) {
  put(Family::pictures, picture_key({1, 0}, PictureKey::map, 0), "a nap");
  EXPECT_TRUE(finds("a PNG of trial 1/0 is damaged; the dashboard shows the trial without it"));
  erase(Family::pictures, shared_picture_key(1, sha256_hex("an image")));
  EXPECT_TRUE(finds("a PNG of job 1 is not there"));
  erase(Family::pictures, picture_key({1, 0}, PictureKey::figure_png, 2));
  EXPECT_TRUE(finds("a PNG of trial 1/0 is not there"));
  put(Family::pictures, picture_key({1, 0}, PictureKey::picture, 0), "garbage");
  EXPECT_TRUE(finds("a picture of trial 1/0 cannot be read"));
}

TEST_F(Verify, ADamagedChunkIsNamedWithItsCheckpoint) {
  erase(Family::uses, use_key(sha256_hex("weights"), {1, 0}, 10));
  put(Family::blobs, sha256_hex("weights"), "Weights");
  put(Family::uses, use_key(sha256_hex("weights"), {1, 0}, 10), "");
  EXPECT_TRUE(finds("checkpoint 1/0@10 has a damaged chunk, " + sha256_hex("weights") + "; it cannot be exported"));
}

TEST_F(Verify, AMissingChunkIsNamedWithItsCheckpoint) {
  erase(Family::blobs, sha256_hex("weights"));
  EXPECT_TRUE(finds("checkpoint 1/0@10 lacks its chunk " + sha256_hex("weights")));
  EXPECT_TRUE(finds("checkpoint 1/0@10 has 0 bytes instead of 7"));
}

TEST_F(Verify, AUseThatIsMissingIsDangerous) {
  erase(Family::uses, use_key(sha256_hex("weights"), {1, 0}, 10));
  EXPECT_TRUE(finds("could be erased although a checkpoint names it; back the store up at once"));
}

TEST_F(Verify, AUseOfNothingTakesSpace) {
  put(Family::uses, use_key(sha256_hex("weights"), {9, 9}, 10), "");
  EXPECT_TRUE(finds("is kept for a checkpoint that is not there; it takes space"));
}

TEST_F(Verify, AChunkOfNobodyTakesSpaceUnlessItIsGarbage) {
  put(Family::blobs, sha256_hex("x"), "x");
  EXPECT_TRUE(finds("no checkpoint names chunk " + sha256_hex("x")));
  put(Family::garbage, sha256_hex("x"), key_of(uint64_t{1}));
  EXPECT_EQ(findings(), "");
}

TEST_F(Verify, RowsThatCannotBeReadAreNamedAndTheOthersAreRead) {
  put(Family::trials, key_of(TrialId{1, 1}), "garbage");
  put(Family::points, points_key({1, 0}, "loss", 5000), "garbage");
  put(Family::logs, log_key({{1, 0}, 4}, 2), "garbage");
  EXPECT_TRUE(finds("a row of 'trials' (7 bytes, key of trial 1/1) cannot be read"));
  EXPECT_TRUE(finds("the curve loss of trial 1/0 is damaged"));
  EXPECT_TRUE(finds("a row of 'logs' (7 bytes"));
  EXPECT_EQ(verify(*store_).value().points, 1u);
}

TEST_F(Verify, RowsThatDoNotAgreeAreNamed) {
  erase(Family::events, key_of(uint64_t{1}));
  put(Family::events, key_of(uint64_t{5}), pack(EventRow{1, "later"}));
  EXPECT_TRUE(finds("the events 3 to 4 are missing"));
  put(Family::meta, "next_epoch", key_of(uint64_t{4}));
  EXPECT_TRUE(finds("the next lease's epoch is not beyond 4"));
  LeaseRow ended{{{1, 0}, 4}, "g", 7, false, false, {sha256_hex("staged")}};
  put(Family::leases, key_of(TrialId{1, 0}), pack(ended));
  EXPECT_TRUE(finds("trial 1/0 is running, but its lease is not live"));
  erase(Family::trials, key_of(TrialId{1, 0}));
  EXPECT_TRUE(finds("job 1 has 1 trials, but 0 are stored"));
}

TEST_F(Verify, ManyOfAKindAreCounted) {
  for (uint64_t i = 1; i <= 25; ++i) put(Family::trials, key_of(TrialId{1, i}), "garbage");
  EXPECT_TRUE(finds("15 more findings of the kind 'trials'"));
}

}  // namespace
}  // namespace hivq
