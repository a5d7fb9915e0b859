#pragma once

// Chunks of checkpoints that nobody names any more. A checkpoint's row names its chunks in Family::uses, in the same
// commit; where one goes, each of its chunks is noted in Family::garbage. What is noted, has no use left, and is not
// being read, is erased after a while. Uses are read and chunks erased between two commits, by the thread that commits:
// no new use can slip between.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/rows.h"

namespace hivq {

/// Who reads a checkpoint's chunks one by one: they stay until it has read none of them for a while. In memory only; a
/// restart falls into the while that garbage waits anyway.
class ChunkReaders {
 public:
  explicit ChunkReaders(Millis patience) : patience_(patience) {}
  void begin(std::vector<std::string> chunks, Millis now) {
    forget(now);
    std::ranges::sort(chunks);
    reading_.push_back({std::move(chunks), now + patience_});
  }
  void read(const std::string& chunk, Millis now) {
    for (auto& reader : reading_) {
      if (std::ranges::binary_search(reader.chunks, chunk)) reader.until = now + patience_;
    }
  }
  bool hold(std::string_view chunk, Millis now) const {
    return std::ranges::any_of(reading_, [&](const Reader& reader) {
      return reader.until > now && std::ranges::binary_search(reader.chunks, chunk);
    });
  }
  void forget(Millis now) {
    std::erase_if(reading_, [&](const Reader& reader) { return reader.until <= now; });
  }

 private:
  struct Reader {
    std::vector<std::string> chunks;  // sorted
    Millis until;
  };
  Millis patience_;
  std::vector<Reader> reading_;
};

/// The writes that erase what has been garbage for longer than `grace`; at most about `most` chunks. `source` has
/// get() and scan() as Store has them. Errors: of the source.
template <typename Source>
Result<std::vector<Write>> collect_garbage(const Source& source, const ChunkReaders& readers, Millis now, Millis grace,
                                           size_t most = 1000) {
  std::vector<std::string> due;
  Status status = source.scan(Family::garbage, "", [&](std::string_view chunk, std::string_view since) {
    const bool waits = since.size() == 8 && now < static_cast<Millis>(number_at(since, 0)) + grace;
    if (!waits && !readers.hold(chunk, now)) due.emplace_back(chunk);
    return due.size() < most;
  });
  std::vector<Write> writes;
  for (const auto& chunk : due) {
    bool used = false;
    if (status) {
      status = source.scan(Family::uses, chunk, [&](auto, auto) {
        used = true;
        return false;
      });
    }
    if (!status) return status.error();
    writes.push_back({Family::garbage, chunk, std::nullopt});
    if (!used) writes.push_back({Family::blobs, chunk, std::nullopt});
  }
  if (!status) return status.error();
  return writes;
}

}  // namespace hivq
