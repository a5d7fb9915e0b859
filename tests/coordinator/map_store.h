#pragma once

// A store in memory, for tests: what Store is to RocksDB, without the disk.

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "common/wire.h"
#include "coordinator/points.h"
#include "coordinator/rows.h"

namespace hivq {

class MapStore {
 public:
  using Rows = std::map<std::string, std::string>;

  void commit(std::span<const Write> writes) {
    for (const auto& write : writes) {
      Rows& rows = families_[static_cast<size_t>(write.family)];
      if (write.merge) {
        std::string& row = rows[write.key];
        const std::string_view both[] = {row, *write.value};
        row = merge_points(both);
      } else if (write.value) {
        rows[write.key] = *write.value;
      } else {
        rows.erase(write.key);
      }
    }
  }

  const Rows& rows(Family family) const { return families_[static_cast<size_t>(family)]; }

  Result<std::optional<std::string>> get(Family family, const std::string& key) const {
    auto found = rows(family).find(key);
    return found == rows(family).end() ? std::nullopt : std::optional(found->second);
  }
  Status scan(Family family, const std::string& prefix,
              const std::function<bool(std::string_view, std::string_view)>& row) const {
    for (auto at = rows(family).lower_bound(prefix); at != rows(family).end() && at->first.starts_with(prefix); ++at) {
      if (!row(at->first, at->second)) break;
    }
    return {};
  }
  Result<std::optional<std::pair<std::string, std::string>>> last_before(Family family, const std::string& key) const {
    auto at = rows(family).lower_bound(key);
    if (at == rows(family).begin()) return std::optional<std::pair<std::string, std::string>>();
    return std::optional(std::pair<std::string, std::string>(*std::prev(at)));
  }
  Result<std::optional<std::string>> first_key(Family family) const {
    return rows(family).empty() ? std::nullopt : std::optional(rows(family).begin()->first);
  }
  Result<std::optional<std::string>> last_key(Family family) const {
    return rows(family).empty() ? std::nullopt : std::optional(rows(family).rbegin()->first);
  }

  /// The row of a key; a panic where there is none.
  template <typename Row>
  Row row(Family family, const std::string& key) const {
    auto found = rows(family).find(key);
    check(found != rows(family).end(), "a row that should be there is not");
    return unpack<Row>(found->second).value();
  }

 private:
  std::array<Rows, family_count> families_;
};

}  // namespace hivq
