#pragma once

// YAML text as a tree of plain values that know where they stand. The only door to yaml-cpp.

#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string where;            // for errors: `jobs/quick.yaml:12`, or `--set train.lr=1`
  std::string text;             // scalar
  bool quoted = false;          // scalar: written in quotes, so it is text and no number
  std::vector<YamlNode> items;  // list, map: the values
  std::vector<YamlNode> keys;   // map: the key of each item, in the order of the file; may repeat
};

/// Reads one YAML document. `name` names the text in errors; `name:line` where `with_lines`.
/// Aliases are copied; what grows beyond 100,000 values is refused, as is a text above 1 MiB.
/// Errors: malformed YAML, an empty text, a second document.
Result<YamlNode> parse_yaml(const std::string& text, const std::string& name, bool with_lines);

/// A node as an error shows it: the scalar's text (shortened), `a list`, `a section`.
std::string shown(const YamlNode& node);

/// Text for the inside of an error: control characters replaced, cut after 60 characters.
std::string shown(const std::string& text);

}  // namespace hivq
