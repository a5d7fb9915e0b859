#include "jobs/checkpoint.h"

#include <fmt/format.h>

#include <fstream>

#include "common/sha256.h"

namespace hivq {

namespace {

constexpr int most_tries = 3;

Error not_written(const std::string& path) {
  return error("cannot write {}: is the disk full? TMPDIR names another folder", path);
}

/// The bytes of a chunk, or why not: of the coordinator, or on the way.
Result<std::string> fetch_chunk(Client& client, const std::string& hash) {
  auto chunk = client.ask<Chunk>(FetchChunk{hash});
  if (!chunk) return chunk.error();
  if (!chunk->error.empty()) return Error{chunk->error};
  if (sha256_hex(chunk->bytes) != hash) return error("chunk {} arrived damaged", hash);
  return std::move(chunk->bytes);
}

Status write_chunks(Client& client, const Manifest& manifest, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  uint64_t size = 0;
  for (const std::string& hash : manifest.chunks) {
    auto bytes = fetch_chunk(client, hash);
    if (!bytes) return bytes.error();
    size += bytes->size();
    if (!file.write(bytes->data(), static_cast<std::streamsize>(bytes->size()))) return not_written(path);
  }
  if (!file.flush()) return not_written(path);
  if (size != manifest.size) return error("it has {} bytes where {} are promised", size, manifest.size);
  return {};
}

}  // namespace

Result<int64_t> fetch_checkpoint(Client& client, const TrialId& trial, const std::string& path) {
  int64_t last_step = -1;
  for (int tries = 1;; ++tries) {
    auto found = client.ask<TrialCheckpoint>(FetchCheckpoint{trial});
    if (!found) return found.error();
    const int64_t step = found->manifest.step;
    auto written = write_chunks(client, found->manifest, path);
    if (written) return step;
    // A chunk may be missing because the trial has a newer checkpoint by now; the same one twice is lost.
    if (step == last_step || tries == most_tries) {
      return error("the checkpoint of trial {} (step {}): {}", to_string(trial), step, written.error().message);
    }
    last_step = step;
  }
}

}  // namespace hivq
