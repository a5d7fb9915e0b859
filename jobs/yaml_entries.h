#pragma once

// A section of a YAML file, key by key, where each key stands once.

#include <fmt/format.h>

#include <set>
#include <string>

#include "jobs/yaml_tree.h"

namespace hivq {

/// Calls read(key, key's node, value) for each entry of a map, each key once, and mistake(node, sentence) for what is
/// wrong: the node is no map, a key is no word or is given twice.
template <typename Read, typename Mistake>
void each_entry(const YamlNode& node, const std::string& name, const Read& read, const Mistake& mistake) {
  if (node.kind != YamlNode::Kind::map) {
    return mistake(node, fmt::format("{} is {}; it must be a section: its keys below it, indented", name, shown(node)));
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& key = node.keys[i];
    if (key.kind != YamlNode::Kind::scalar) {
      mistake(key, fmt::format("a key of {} is {}; it must be a word", name, shown(key)));
    } else if (!seen.insert(key.text).second) {
      mistake(key, fmt::format("{} is given twice in {}; keep one", shown(key.text), name));
    } else {
      read(key.text, key, node.items[i]);
    }
  }
}

}  // namespace hivq
