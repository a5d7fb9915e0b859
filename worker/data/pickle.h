#pragma once

// Python's pickle format, protocols 2 to 5, read without running it: containers become plain nodes, and the call of a
// Python function is written down, never made. Source: pickletools.py of CPython.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace hivq {

struct PickleNode {
  enum class Kind { none, boolean, integer, real, text, sequence, mapping, global, call, persistent };
  Kind kind = Kind::none;
  int64_t integer = 0;  // boolean, integer
  double real = 0;
  std::string text = {};  // text (str, bytes, and integers beyond 64 bits: little-endian bytes); global: "module.name"
  // Indices of other nodes. sequence (list, tuple, set): the elements; mapping: key, value, key, value …; call: the
  // function, its arguments (a sequence), and what the object's state was set to, if it was; persistent: the identity.
  std::vector<size_t> items = {};
};

/// One pickle. Nodes name each other by index, so that one may stand in many places, and even in itself: whoever walks
/// down bounds the depth.
struct Pickle {
  std::vector<PickleNode> nodes;
  size_t root = 0;
  size_t bytes = 0;  // its length

  const PickleNode& operator[](size_t node) const { return nodes[node]; }
  /// The value of a mapping's text key (the last one, where it occurs twice), or null.
  const PickleNode* find(const PickleNode& mapping, std::string_view key) const;
};

/// Reads the pickle that `bytes` start with. `allowed`: the globals (`module.name`) that it may name. Any bytes are
/// safe to pass. Errors, which name `origin`: a global that is not allowed; damage; an opcode that PyTorch and numpy do
/// not write; more than some millions of values.
Result<Pickle> read_pickle(std::string_view bytes, std::span<const std::string_view> allowed, std::string_view origin);

}  // namespace hivq
