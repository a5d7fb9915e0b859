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
  Result<CheckpointFiles> fetch(const std::string& where) {
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
        reply(router, peer, question.id, TrialCheckpoint{manifests.front(), "data: {}\n"});
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

TEST_F(FetchedCheckpoint, IsTheChunksInOrderBesideItsSpecification) {
  manifests = {holds(7, {std::string("a\0b", 3), "second", "a third"})};
  auto files = fetch(folder);
  ASSERT_TRUE(bool(files)) << files.error().message;
  EXPECT_EQ(files->step, 7);
  EXPECT_EQ(read_text(files->checkpoint), std::string("a\0b", 3) + "seconda third");
  EXPECT_EQ(read_text(files->spec), "data: {}\n");
}

TEST_F(FetchedCheckpoint, IsTheNewerOneWhereATrialReplacesItMeanwhile) {
  manifests = {holds(7, {"old"}), holds(9, {"new"})};
  blobs.erase(sha256_hex("old"));
  auto files = fetch(folder);
  ASSERT_TRUE(bool(files)) << files.error().message;
  EXPECT_EQ(files->step, 9);
  EXPECT_EQ(read_text(files->checkpoint), "new");
}

TEST_F(FetchedCheckpoint, IsRefusedWhereAChunkIsMissing) {
  manifests = {holds(7, {"old"})};
  blobs.clear();
  auto files = fetch(folder);
  ASSERT_FALSE(bool(files));
  EXPECT_EQ(files.error().message, "the checkpoint of trial 4/1 (step 7): chunk is not in the store");
  EXPECT_EQ(looks, 2);
}

TEST_F(FetchedCheckpoint, IsRefusedWhereAChunkArrivesDamagedOrTheSizeIsWrong) {
  manifests = {holds(7, {"old"})};
  blobs[sha256_hex("old")] = "odd";
  auto damaged = fetch(folder);
  ASSERT_FALSE(bool(damaged));
  EXPECT_NE(damaged.error().message.find("arrived damaged"), std::string::npos) << damaged.error().message;
  manifests = {holds(7, {"old"})};
  manifests[0].size = 5;
  auto cut = fetch(folder);
  ASSERT_FALSE(bool(cut));
  EXPECT_NE(cut.error().message.find("3 bytes where 5"), std::string::npos) << cut.error().message;
}

TEST_F(FetchedCheckpoint, IsTheCoordinatorsSentenceWhereThereIsNone) {
  auto files = fetch(folder);
  ASSERT_FALSE(bool(files));
  EXPECT_EQ(files.error().message, "trial 4/1 has no checkpoint");
}

TEST_F(FetchedCheckpoint, NamesTheFileThatCannotBeWritten) {
  manifests = {holds(7, {"old"})};
  auto files = fetch(folder + "/nowhere");
  ASSERT_FALSE(bool(files));
  EXPECT_NE(files.error().message.find(folder + "/nowhere/trial-4-1.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace hivq
