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

Result<CheckpointFiles> fetch_checkpoint(Client& client, const TrialId& trial, const std::string& folder) {
  const std::string stem = fmt::format("{}/trial-{}-{}", folder, trial.job, trial.index);
  const CheckpointFiles paths{0, stem + ".safetensors", stem + ".yaml"};
  int64_t last_step = -1;
  for (int tries = 1;; ++tries) {
    auto found = client.ask<TrialCheckpoint>(FetchCheckpoint{trial});
    if (!found) return found.error();
    const int64_t step = found->manifest.step;
    if (auto written = write_chunks(client, found->manifest, paths.checkpoint); !written) {
      const bool replaced = last_step != step && tries < most_tries;  // perhaps: then the next look finds another
      last_step = step;
      if (replaced) continue;
      return error("the checkpoint of trial {} (step {}): {}", to_string(trial), step, written.error().message);
    }
    std::ofstream spec(paths.spec, std::ios::binary | std::ios::trunc);
    spec << found->spec;
    if (!spec.flush()) return not_written(paths.spec);
    return CheckpointFiles{step, paths.checkpoint, paths.spec};
  }
}

}  // namespace hivq
