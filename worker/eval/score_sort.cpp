#include "worker/eval/score_sort.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <queue>
#include <utility>

namespace hivq {
namespace {

constexpr int kDigit = 11, kDigits = 3;  // bits of a radix digit; three cover the key
constexpr uint32_t kValues = 1u << kDigit;

uint32_t digit_of(uint32_t key, int digit) { return (key >> (digit * kDigit)) & (kValues - 1); }

/// Stable, in three passes of a radix sort; a digit that all keys share takes none.
void sort_by_key(std::vector<ScoreEntry>& entries) {
  std::vector<std::array<size_t, kValues>> next(kDigits);  // where the next entry of a digit's value goes
  for (const ScoreEntry& entry : entries) {
    for (int digit = 0; digit < kDigits; ++digit) ++next[static_cast<size_t>(digit)][digit_of(entry.key, digit)];
  }
  std::vector<ScoreEntry> sorted;
  for (int digit = 0; digit < kDigits; ++digit) {
    std::array<size_t, kValues>& place = next[static_cast<size_t>(digit)];
    if (std::ranges::find(place, entries.size()) != place.end()) continue;
    size_t sum = 0;
    for (size_t& count : place) sum += std::exchange(count, sum);
    sorted.resize(entries.size());
    for (const ScoreEntry& entry : entries) sorted[place[digit_of(entry.key, digit)]++] = entry;
    entries.swap(sorted);
  }
}

Error temporary_file_error(std::string_view action, const std::string& folder) {
  const int reason = errno;
  return error(
      "{}, which holds the pixels' scores while they are sorted; make room there, or set TMPDIR to a folder "
      "with room",
      file_error(action, "a temporary file in " + folder, reason).message);
}

/// A file without a name.
Result<Descriptor> make_temporary_file(const std::string& folder) {
  Descriptor file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  std::string path = folder + "/hivq-scores-XXXXXX";  // a file system that cannot do this
  Descriptor named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return temporary_file_error("make", folder);
  ::unlink(path.c_str());
  return named;
}

/// One sorted run of the file, read in pieces.
struct Run {
  uint64_t next = 0, end = 0;  // entries of the file that are not read yet
  std::vector<ScoreEntry> piece;
  size_t at = 0;

  bool refill(const Descriptor& file, size_t entries) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(entries, end - next)));
    at = 0;
    const uint64_t offset = next * sizeof(ScoreEntry);
    next += piece.size();
    return read_fully(file, piece.data(), piece.size() * sizeof(ScoreEntry), static_cast<size_t>(offset));
  }
};

}  // namespace

ScoreSort::ScoreSort(size_t memory, std::string folder)
    : capacity_(std::max<size_t>(memory / (2 * sizeof(ScoreEntry)), 1)), folder_(std::move(folder)) {
  std::error_code none;
  if (folder_.empty()) folder_ = std::filesystem::temp_directory_path(none).string();
  if (folder_.empty()) folder_ = "/tmp";
}

Status ScoreSort::add(std::span<const ScoreEntry> entries) {
  size_ += entries.size();
  while (!entries.empty()) {
    if (buffer_.size() == capacity_) {
      if (Status spilled = spill(); !spilled) return spilled;
    }
    const size_t count = std::min(entries.size(), capacity_ - buffer_.size()), needed = buffer_.size() + count;
    // Doubles, but never beyond the capacity.
    if (needed > buffer_.capacity()) buffer_.reserve(std::min(capacity_, std::max(needed, 2 * buffer_.capacity())));
    buffer_.insert(buffer_.end(), entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(count));
    entries = entries.subspan(count);
  }
  return {};
}

Status ScoreSort::spill() {
  if (!file_) {
    Result<Descriptor> made = make_temporary_file(folder_);
    if (!made) return made.error();
    file_ = std::move(*made);
  }
  sort_by_key(buffer_);
  if (!write_fully(file_, buffer_.data(), buffer_.size() * sizeof(ScoreEntry), written_ * sizeof(ScoreEntry))) {
    return temporary_file_error("write", folder_);
  }
  run_begin_.push_back(written_);
  written_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status ScoreSort::drain(const Visitor& visit) {
  Status done;
  if (run_begin_.empty()) {
    sort_by_key(buffer_);
    if (!buffer_.empty()) visit(buffer_);
  } else {
    if (!buffer_.empty()) done = spill();
    std::vector<ScoreEntry>().swap(buffer_);  // the memory is the merge's now
    if (done) done = merge(visit);
  }
  buffer_.clear();
  run_begin_.clear();
  file_ = Descriptor();
  written_ = size_ = 0;
  return done;
}

/// By a heap of the runs' first keys. Runs were written one after the other, so that among equal keys the first run's
/// entries were added first.
Status ScoreSort::merge(const Visitor& visit) {
  const size_t piece = std::max<size_t>(2 * capacity_ / (run_begin_.size() + 1), 1);
  std::vector<Run> runs;
  using First = std::pair<uint32_t, size_t>;  // key, run
  std::priority_queue<First, std::vector<First>, std::greater<>> heap;
  for (size_t i = 0; i < run_begin_.size(); ++i) {
    Run& run = runs.emplace_back();
    run.next = run_begin_[i], run.end = i + 1 < run_begin_.size() ? run_begin_[i + 1] : written_;
    if (!run.refill(file_, piece)) return temporary_file_error("read", folder_);
    heap.emplace(run.piece[0].key, i);
  }
  std::vector<ScoreEntry> merged;
  merged.reserve(piece);
  while (!heap.empty()) {
    const size_t first = heap.top().second;
    Run& run = runs[first];
    heap.pop();
    merged.push_back(run.piece[run.at++]);
    if (merged.size() == piece) visit(merged), merged.clear();
    if (run.at == run.piece.size() && run.next < run.end && !run.refill(file_, piece)) {
      return temporary_file_error("read", folder_);
    }
    if (run.at < run.piece.size()) heap.emplace(run.piece[run.at].key, first);
  }
  if (!merged.empty()) visit(merged);
  return {};
}

}  // namespace hivq
