#include "coordinator/verify.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "common/sha256.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"
#include "jobs/search/searcher.h"
#include "jobs/spec.h"

namespace hivq {

namespace {

constexpr size_t most_of_kind = 10;
constexpr const char* from_backup =
    "restore the last good backup (hivq-coordinator restore) into another folder and compare; what else is in the "
    "store "
    "can be read on";

/// Trials of a study, and of a searcher that learns, are made as the job goes on.
bool makes_trials_later(const JobRow& row) {
  const auto spec = parse_job(row.yaml, row.name);
  return spec && (spec->study || make_searcher(*spec)->adaptive());
}

class Verifier {
 public:
  explicit Verifier(const Store& store) : store_(store) {}

  Verified run() {
    if (auto sound = store_.verify_checksums(); !sound) found("block", sound.error().message, from_backup);
    jobs();
    trials();
    leases();
    points();
    chunks();
    checkpoints();
    uses();
    logs();
    pictures();
    for (const auto& [kind, count] : counts_) {
      if (count > most_of_kind) {
        result_.findings.push_back({fmt::format("{} more findings of the kind '{}'", count - most_of_kind, kind), ""});
      }
    }
    return std::move(result_);
  }

 private:
  void found(const std::string& kind, std::string what, std::string remedy) {
    if (++counts_[kind] <= most_of_kind) result_.findings.push_back({std::move(what), std::move(remedy)});
  }

  /// Every row of a family; what cannot be read is a finding, and the next is looked at.
  template <typename Row, typename Each>
  void rows(Family family, const Each& each) {
    const char* name = family_names[static_cast<size_t>(family)];
    auto scanned = store_.scan(family, "", [&](std::string_view key, std::string_view value) {
      auto row = unpack<Row>(value);
      if (row) {
        each(key, *row);
      } else {
        found(name,
              fmt::format("a row of '{}' ({} bytes, key {}) cannot be read: {}", name, value.size(), shown(key),
                          row.error().message),
              from_backup);
      }
      return true;
    });
    if (!scanned)
      found(name, fmt::format("'{}' cannot be read to its end: {}", name, scanned.error().message), from_backup);
  }

  static std::string shown(std::string_view key) {
    if (key.size() >= 16 && number_at(key, 8) == shared_index) return fmt::format("of job {}", number_at(key, 0));
    if (key.size() >= 16) return "of trial " + to_string(trial_at(key));
    return key.size() == 8 ? std::to_string(number_at(key, 0)) : std::string(key);
  }

  void jobs() {
    rows<JobRow>(Family::jobs, [&](std::string_view, const JobRow& row) {
      ++result_.jobs;
      jobs_[row.id] = {row.trials, !ended(row.state) && makes_trials_later(row)};
    });
    uint64_t last = 0;
    rows<EventRow>(Family::events, [&](std::string_view key, const EventRow&) {
      ++result_.events;
      const uint64_t number = key.size() == 8 ? number_at(key, 0) : 0;
      if (last != 0 && number != last + 1) {
        found("events", fmt::format("the events {} to {} are missing", last + 1, number - 1), from_backup);
      }
      last = number;
    });
  }

  void trials() {
    std::map<JobId, uint64_t> counted;
    rows<TrialRow>(Family::trials, [&](std::string_view, const TrialRow& row) {
      ++result_.trials;
      ++counted[row.id.job];
      if (!jobs_.contains(row.id.job)) {
        found("trials", fmt::format("trial {} is of a job that is not there", to_string(row.id)), from_backup);
      }
      if (row.state == State::running) running_.insert(row.id);
    });
    for (const auto& [job, expected] : jobs_) {
      const auto& [trials, later] = expected;
      if (counted[job] == trials || (later && counted[job] < trials)) continue;
      found("trials", fmt::format("job {} has {} trials, but {} are stored", job, trials, counted[job]), from_backup);
    }
  }

  void leases() {
    uint64_t newest = 0;
    rows<LeaseRow>(Family::leases, [&](std::string_view, const LeaseRow& row) {
      newest = std::max(newest, row.lease.epoch);
      const TrialId& trial = row.lease.trial;
      if (row.live != running_.contains(trial)) {
        found("leases",
              fmt::format("trial {} is{} running, but its lease is{} live", to_string(trial),
                          running_.contains(trial) ? "" : " not", row.live ? "" : " not"),
              from_backup);
      }
      for (const auto& chunk : row.staged) ++expected_[use_key(chunk, trial, staged_step)];
    });
    auto next = store_.get(Family::meta, "next_epoch");
    const bool known = next && *next && (*next)->size() == 8;
    if (newest > 0 && (!known || number_at(**next, 0) <= newest)) {
      found("leases", fmt::format("the next lease's epoch is not beyond {}, which was given", newest),
            "start no gang on this store: old reports could pass for new ones; restore a backup");
    }
  }

  void points() {
    auto scanned = store_.scan(Family::points, "", [&](std::string_view key, std::string_view row) {
      auto read = points_of(key, row);
      if (read) {
        result_.points += read->size();
      } else {
        found("points", read.error().message, from_backup);
      }
      return true;
    });
    if (!scanned) found("points", "'points' cannot be read to its end: " + scanned.error().message, from_backup);
  }

  void chunks() {
    auto scanned = store_.scan(Family::blobs, "", [&](std::string_view hash, std::string_view bytes) {
      ++result_.chunks;
      result_.chunk_bytes += bytes.size();
      sizes_[std::string(hash)] = bytes.size();
      if (sha256_hex(bytes) != hash) damaged_.insert(std::string(hash));
      return true;
    });
    if (!scanned) found("blobs", "'blobs' cannot be read to its end: " + scanned.error().message, from_backup);
  }

  void checkpoints() {
    rows<CheckpointRow>(Family::checkpoints, [&](std::string_view key, const CheckpointRow& row) {
      ++result_.checkpoints;
      const TrialId trial = key.size() == 24 ? trial_at(key) : TrialId{};
      const std::string name = fmt::format("checkpoint {}@{}", to_string(trial), row.manifest.step);
      const std::string remedy =
          "it cannot be exported, and no trial can go on from it: take another checkpoint of the trial (hivq show), or "
          "restore a backup";
      uint64_t size = 0;
      for (const auto& chunk : row.manifest.chunks) {
        auto there = sizes_.find(chunk);
        if (there == sizes_.end()) {
          found("checkpoints", fmt::format("{} lacks its chunk {}", name, chunk), remedy);
        } else {
          size += there->second;
        }
        if (damaged_.contains(chunk)) {
          found("checkpoints", fmt::format("{} has a damaged chunk, {}", name, chunk), remedy);
        }
      }
      for (const auto& chunk : std::set(row.manifest.chunks.begin(), row.manifest.chunks.end())) {
        ++expected_[use_key(chunk, trial, row.manifest.step)];
      }
      if (size != row.manifest.size) {
        found("checkpoints", fmt::format("{} has {} bytes instead of {}", name, size, row.manifest.size), remedy);
      }
    });
  }

  void uses() {
    std::set<std::string> named;
    auto scanned = store_.scan(Family::uses, "", [&](std::string_view key, std::string_view) {
      named.emplace(key.substr(0, key.size() - std::min<size_t>(24, key.size())));
      if (expected_.erase(std::string(key)) == 0) {
        found("uses", fmt::format("chunk {} is kept for a checkpoint that is not there", key.substr(0, 64)),
              "it takes space, and does no harm otherwise");
      }
      return true;
    });
    if (!scanned) found("uses", "'uses' cannot be read to its end: " + scanned.error().message, from_backup);
    for (const auto& [key, count] : expected_) {
      found("uses", fmt::format("chunk {} could be erased although a checkpoint names it", key.substr(0, 64)),
            "back the store up at once, and start no coordinator on it");
    }
    for (const auto& [hash, size] : sizes_) {
      auto noted = store_.get(Family::garbage, hash);
      if (damaged_.contains(hash) && !named.contains(hash)) {
        found("blobs", fmt::format("chunk {} is damaged, but no checkpoint names it", hash), "it goes by itself");
      }
      if (named.contains(hash) || (noted && *noted)) continue;
      found("blobs", fmt::format("no checkpoint names chunk {} ({} bytes), and it is not noted as garbage", hash, size),
            "it takes space, and does no harm otherwise");
    }
  }

  void logs() {
    rows<EventRow>(Family::logs, [&](std::string_view, const EventRow&) { ++result_.log_lines; });
  }

  /// SHA-256 by key: of the PNGs that rows name, and of those that are there.
  struct Pngs {
    std::map<std::string, std::string> named, there;
  };

  void compare(Pngs& pngs) {
    const std::string remedy = "the dashboard shows the trial without it; `hivq figures` draws figures again";
    for (const auto& [key, hash] : std::exchange(pngs.named, {})) {
      const auto bytes = pngs.there.find(key);
      if (bytes == pngs.there.end()) {
        found("pictures", fmt::format("a PNG {} is not there", shown(key)), remedy);
      } else if (bytes->second != hash) {
        found("pictures", fmt::format("a PNG {} is damaged", shown(key)), remedy);
      }
    }
    pngs.there.clear();
  }

  /// What rows of a trial name; what the trials of its job share comes after all of them.
  void picture_row(std::string_view key, std::string_view value, Pngs& own, Pngs& shared) {
    const TrialId id = trial_at(key);
    Status read;
    if (key[16] == static_cast<char>(PictureKey::picture)) {
      auto row = unpack<PictureView>(value);
      if (!row) read = row.error();
      if (row) {
        own.named[picture_key(id, PictureKey::map, row->number)] = row->map;
        shared.named[shared_picture_key(id.job, row->image)] = row->image;
        if (!row->truth.empty()) shared.named[shared_picture_key(id.job, row->truth)] = row->truth;
      }
    } else {
      auto row = unpack<FigureView>(value);
      if (!row) read = row.error();
      if (row) own.named[picture_key(id, PictureKey::figure_png, row->figure)] = row->hash;
    }
    if (!read)
      found("pictures", fmt::format("a picture {} cannot be read: {}", shown(key), read.error().message), from_backup);
  }

  void pictures() {
    Pngs own, shared;
    TrialId at;
    auto scanned = store_.scan(Family::pictures, "", [&](std::string_view key, std::string_view value) {
      if (key.size() < 25) {
        found("pictures", fmt::format("a key of 'pictures' has {} bytes", key.size()), from_backup);
        return true;
      }
      const TrialId id = trial_at(key);
      if (id != at) compare(own);
      if (id.job != at.job) compare(shared);
      at = id;
      const bool is_row = id.index != shared_index && (key[16] == static_cast<char>(PictureKey::picture) ||
                                                       key[16] == static_cast<char>(PictureKey::figure));
      if (is_row) {
        picture_row(key, value, own, shared);
      } else {
        ++result_.pictures;
        (id.index == shared_index ? shared : own).there[std::string(key)] = sha256_hex(value);
      }
      return true;
    });
    if (!scanned) found("pictures", "'pictures' cannot be read to its end: " + scanned.error().message, from_backup);
    compare(own);
    compare(shared);
  }

  const Store& store_;
  Verified result_;
  std::map<std::string, uint64_t> counts_;
  std::map<JobId, std::pair<uint64_t, bool>> jobs_;  // their trials, and whether some of them may not be there yet
  std::set<TrialId> running_;
  std::map<std::string, uint64_t> sizes_;  // of chunks
  std::set<std::string> damaged_;
  std::map<std::string, int> expected_;  // uses
};

}  // namespace

Result<Verified> verify(const Store& store) { return Verifier(store).run(); }

}  // namespace hivq
