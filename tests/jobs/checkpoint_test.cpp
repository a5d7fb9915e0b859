#include "jobs/checkpoint.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/sha256.h"
#include "tests/jobs/fake_coordinator.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A coordinator that holds checkpoints: the next manifest of its list whenever one is asked for, the last one again
/// and again.
class FetchedCheckpoint : public testing::Test {
 protected:
  FetchedCheckpoint() {
    std::string name = (fs::temp_directory_path() / "hivq_checkpoint_XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~FetchedCheckpoint() override { fs::remove_all(folder); }

  Manifest holds(int64_t step, const std::vector<std::string>& parts) {
    Manifest manifest{step, 0, {}};
    for (const auto& part : parts) {
      manifest.size += part.size();
      manifest.chunks.push_back(sha256_hex(part));
      blobs[manifest.chunks.back()] = part;
    }
    return manifest;
  }
  std::string path() const { return folder + "/weights"; }
  Result<int64_t> fetch() { return fetch(path()); }
  Result<int64_t> fetch(const std::string& where) {
    FakeCoordinator coordinator([this](Router& router, const auto& peer, const Message& question) {
      if (auto* chunk = std::get_if<FetchChunk>(&question.body)) {
        auto found = blobs.find(chunk->hash);
        const bool there = found != blobs.end();
        reply(router, peer, question.id,
              Chunk{chunk->hash, there ? found->second : "", there ? "" : "chunk is not in the store"});
      } else if (auto* wanted = std::get_if<FetchCheckpoint>(&question.body)) {
        ++looks;
        EXPECT_EQ(wanted->trial, (TrialId{4, 1}));
        if (manifests.empty()) return reply(router, peer, question.id, Failed{"trial 4/1 has no checkpoint"});
        reply(router, peer, question.id, TrialCheckpoint{manifests.front()});
        if (manifests.size() > 1) manifests.erase(manifests.begin());
      }
    });
    auto client = Client::connect(coordinator.endpoint());
    EXPECT_TRUE(bool(client));
    return fetch_checkpoint(*client, {4, 1}, where);
  }

  std::string folder;
  std::vector<Manifest> manifests;
  std::map<std::string, std::string> blobs;
  int looks = 0;
};

TEST_F(FetchedCheckpoint, IsTheChunksInOrder) {
  manifests = {holds(7, {std::string("a\0b", 3), "second", "a third"})};
  auto step = fetch();
  ASSERT_TRUE(bool(step)) << step.error().message;
  EXPECT_EQ(*step, 7);
  EXPECT_EQ(read_text(path()), std::string("a\0b", 3) + "seconda third");
}

TEST_F(FetchedCheckpoint, IsTheNewerOneWhereATrialReplacesItMeanwhile) {
  manifests = {holds(7, {"old"}), holds(9, {"new"})};
  blobs.erase(sha256_hex("old"));
  auto step = fetch();
  ASSERT_TRUE(bool(step)) << step.error().message;
  EXPECT_EQ(*step, 9);
  EXPECT_EQ(read_text(path()), "new");
}

TEST_F(FetchedCheckpoint, IsRefusedWhereAChunkIsMissing) {
  manifests = {holds(7, {"old"})};
  blobs.clear();
  auto step = fetch();
  ASSERT_FALSE(bool(step));
  EXPECT_EQ(step.error().message, "the checkpoint of trial 4/1 (step 7): chunk is not in the store");
  EXPECT_EQ(looks, 2);
}

TEST_F(FetchedCheckpoint, IsRefusedWhereAChunkArrivesDamagedOrTheSizeIsWrong) {
  manifests = {holds(7, {"old"})};
  blobs[sha256_hex("old")] = "odd";
  auto damaged = fetch();
  ASSERT_FALSE(bool(damaged));
  EXPECT_NE(damaged.error().message.find("arrived damaged"), std::string::npos) << damaged.error().message;
  manifests = {holds(7, {"old"})};
  manifests[0].size = 5;
  auto cut = fetch();
  ASSERT_FALSE(bool(cut));
  EXPECT_NE(cut.error().message.find("3 bytes where 5"), std::string::npos) << cut.error().message;
}

TEST_F(FetchedCheckpoint, IsTheCoordinatorsSentenceWhereThereIsNone) {
  auto step = fetch();
  ASSERT_FALSE(bool(step));
  EXPECT_EQ(step.error().message, "trial 4/1 has no checkpoint");
}

TEST_F(FetchedCheckpoint, NamesTheFileThatCannotBeWritten) {
  manifests = {holds(7, {"old"})};
  auto step = fetch(folder + "/nowhere/weights");
  ASSERT_FALSE(bool(step));
  EXPECT_NE(step.error().message.find(folder + "/nowhere/weights"), std::string::npos);
}

}  // namespace
}  // namespace hivq
