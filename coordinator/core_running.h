#pragma once

// For the core's own files: the input at hand.

#include <utility>

#include "coordinator/core.h"

namespace hivq {

/// The time of the input, and where its effects go.
struct Core::Running {
  Millis now;
  Effects& effects;
  std::map<std::string, std::vector<MetricPoint>> curves = {};  // of the report at hand, by the metric's name

  void reply(const std::string& peer, uint64_t request, Body body) {
    effects.sends.push_back({peer, {request, std::move(body)}});
  }
  void tell(const std::string& peer, Body body) { reply(peer, 0, std::move(body)); }
  void put(Family family, std::string key, std::string value) {
    effects.writes.push_back({family, std::move(key), std::move(value)});
  }
  /// The same, where the value of the key is always the same.
  void put_once(Family family, std::string key, std::string value) {
    effects.writes.push_back({family, std::move(key), std::move(value), false, true});
  }
  /// Points come into the rows of their curve.
  void merge(std::string key, std::string points) {
    effects.writes.push_back({Family::points, std::move(key), std::move(points), true});
  }
  void erase(Family family, std::string key) { effects.writes.push_back({family, std::move(key), std::nullopt}); }
};

/// The key of a study's submission: its name, so that there is one of each name.
inline std::string study_key(const std::string& name) { return "study/" + name; }

/// A gang's name for people.
inline std::string short_id(const GangId& gang) { return gang.substr(0, 8); }

}  // namespace hivq
