#include "worker/data/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

namespace hivq {
namespace {

using Kind = PickleNode::Kind;

constexpr size_t kMaxValues = 4'000'000;  // at most some 500 MB; a large checkpoint has a hundred thousand

/// Opcodes, named as in pickletools.py.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersistentId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kEmptyList = ']',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kEmptyDict = '}',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kProtocol = 0x80,
  kNewObject = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

/// The stack machine. The first mistake sticks in `problem` and ends the run, so that what follows it may use any
/// value.
struct Machine {
  std::string_view bytes;
  std::span<const std::string_view> allowed;
  size_t at = 0;
  size_t values = 0;                 // nodes, and their places in containers
  std::vector<PickleNode> nodes{1};  // node 0, a None, stands in where something is missing
  std::vector<size_t> stack = {};    // nodes
  std::vector<size_t> marks = {};    // heights of the stack
  std::unordered_map<uint64_t, size_t> memo = {};
  std::string problem = {};

  void fail(const std::string& what) {
    if (problem.empty()) problem = fmt::format("{} (byte {} of a pickle)", what, at);
  }

  // The bytes.
  std::string_view take(uint64_t count) {
    if (count > bytes.size() - at) {
      fail("it is cut short");
      return {};
    }
    at += count;
    return bytes.substr(at - count, count);
  }
  template <typename Unsigned>
  Unsigned number() {
    Unsigned value = 0;
    const std::string_view raw = take(sizeof value);
    if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const size_t end = bytes.find('\n', at);
    if (end == std::string_view::npos) {
      fail("it is cut short");
      return {};
    }
    const std::string_view text = take(end - at);
    ++at;
    return text;
  }

  // The stack.
  void push(PickleNode node) {
    values += node.items.size();
    nodes.push_back(std::move(node));
    stack.push_back(nodes.size() - 1);
  }
  bool has(size_t count) {
    const size_t floor = marks.empty() ? 0 : marks.back();
    if (stack.size() >= floor + count) return true;
    fail("it takes more from its stack than is there");
    return false;
  }
  size_t pop() {
    if (!has(1)) return 0;
    const size_t node = stack.back();
    stack.pop_back();
    return node;
  }
  std::vector<size_t> pop(size_t count) {
    if (!has(count)) return {};
    const std::vector<size_t> items(stack.end() - static_cast<std::ptrdiff_t>(count), stack.end());
    stack.resize(stack.size() - count);
    return items;
  }
  std::vector<size_t> pop_to_mark() {
    if (marks.empty()) {
      fail("it takes more from its stack than is there");
      return {};
    }
    const std::vector<size_t> items = pop(stack.size() - marks.back());
    marks.pop_back();
    return items;
  }
  size_t top() { return has(1) ? stack.back() : 0; }

  // Values.
  void push_integer(int64_t value) { push({.kind = Kind::integer, .integer = value}); }
  void push_text(std::string_view text) { push({.kind = Kind::text, .text = std::string(text)}); }
  void push_sequence(std::vector<size_t> items) { push({.kind = Kind::sequence, .items = std::move(items)}); }
  void push_long(std::string_view little_endian) {
    if (little_endian.size() > sizeof(int64_t)) return push_text(little_endian);
    uint64_t value = 0;
    for (size_t i = 0; i < little_endian.size(); ++i)
      value |= uint64_t{static_cast<uint8_t>(little_endian[i])} << 8 * i;
    const int unused = static_cast<int>(64 - 8 * little_endian.size());
    push_integer(little_endian.empty() ? 0 : static_cast<int64_t>(value << unused) >> unused);
  }
  void push_real() {
    uint64_t bits = 0;
    for (const char byte : take(8)) bits = bits << 8 | static_cast<uint8_t>(byte);  // the one big-endian value
    push({.kind = Kind::real, .real = std::bit_cast<double>(bits)});
  }
  void push_global(std::string_view module, std::string_view name) {
    std::string global = fmt::format("{}.{}", module, name);
    if (std::ranges::find(allowed, global) == allowed.end()) {
      return fail(fmt::format("it names `{}`, which is neither a tensor nor a plain value, and is not run", global));
    }
    push({.kind = Kind::global, .text = std::move(global)});
  }
  void remember(uint64_t key) { memo[key] = top(); }
  void recall(uint64_t key) {
    const auto found = memo.find(key);
    if (found == memo.end()) return fail("it recalls a value that it never gave");
    stack.push_back(found->second);
  }

  // Containers and calls.
  void add_to(Kind kind, const std::vector<size_t>& items) {
    PickleNode& container = nodes[top()];
    if (container.kind == Kind::call) return;  // an object's own items: nothing that we read
    if (container.kind != kind || (kind == Kind::mapping && items.size() % 2 != 0))
      return fail("it fills what is no container");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }
  /// A call of a container's class becomes that container; any other stays written down.
  void call() {
    const size_t arguments = pop(), function = pop();
    if (nodes[function].kind != Kind::global || nodes[arguments].kind != Kind::sequence)
      return fail("it calls what is no function");
    const std::string& name = nodes[function].text;
    const std::vector<size_t>& given = nodes[arguments].items;
    if (name.ends_with(".set") || name.ends_with(".frozenset")) {
      return push_sequence(given.empty() ? given : nodes[given[0]].items);
    }
    if (!name.starts_with("collections.")) {
      push({.kind = Kind::call, .items = {function, arguments}});
      return;
    }
    PickleNode mapping{.kind = Kind::mapping};
    if (!given.empty() && nodes[given[0]].kind == Kind::sequence) {  // OrderedDict([(key, value), …]) of Python 2
      for (const size_t pair : nodes[given[0]].items) {
        if (nodes[pair].items.size() != 2) return fail("it makes a mapping of what are no pairs");
        mapping.items.insert(mapping.items.end(), nodes[pair].items.begin(), nodes[pair].items.end());
      }
    }
    push(std::move(mapping));
  }
  /// A mapping's own attributes (`_metadata` of a state dict) are dropped.
  void build() {
    const size_t state = pop();
    PickleNode& object = nodes[top()];
    if (object.kind == Kind::call && object.items.size() == 2) object.items.push_back(state);
  }

  // The opcodes, each with what it does.
  void step(uint8_t opcode) {
    switch (opcode) {
      case kProtocol:
        take(1);
        return;
      case kFrame:
        take(8);
        return;
      case kMark:
        return marks.push_back(stack.size());
      case kPop:
        pop(1);
        return;
      case kPopMark:
        pop_to_mark();
        return;
      case kBinPut:
        return remember(number<uint8_t>());
      case kLongBinPut:
        return remember(number<uint32_t>());
      case kMemoize:
        return remember(memo.size());
      case kBinGet:
        return recall(number<uint8_t>());
      case kLongBinGet:
        return recall(number<uint32_t>());
      default:
        return scalar(opcode);
    }
  }

  void scalar(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        return push({});
      case kNewTrue:
        return push({.kind = Kind::boolean, .integer = 1});
      case kNewFalse:
        return push({.kind = Kind::boolean});
      case kBinInt:
        return push_integer(static_cast<int32_t>(number<uint32_t>()));
      case kBinInt1:
        return push_integer(number<uint8_t>());
      case kBinInt2:
        return push_integer(number<uint16_t>());
      case kLong1:
        return push_long(take(number<uint8_t>()));
      case kLong4:
        return push_long(take(number<uint32_t>()));
      case kBinFloat:
        return push_real();
      case kShortBinString:
      case kShortBinBytes:
      case kShortBinUnicode:
        return push_text(take(number<uint8_t>()));
      case kBinString:
      case kBinBytes:
      case kBinUnicode:
        return push_text(take(number<uint32_t>()));
      case kBinBytes8:
      case kBinUnicode8:
        return push_text(take(number<uint64_t>()));
      default:
        return container(opcode);
    }
  }

  void container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyTuple:
      case kEmptyList:
      case kEmptySet:
        return push_sequence({});
      case kEmptyDict:
        return push({.kind = Kind::mapping});
      case kTuple1:
        return push_sequence(pop(1));
      case kTuple2:
        return push_sequence(pop(2));
      case kTuple3:
        return push_sequence(pop(3));
      case kTuple:
      case kFrozenSet:
        return push_sequence(pop_to_mark());
      case kAppend:
        return add_to(Kind::sequence, pop(1));
      case kAppends:
      case kAddItems:
        return add_to(Kind::sequence, pop_to_mark());
      case kSetItem:
        return add_to(Kind::mapping, pop(2));
      case kSetItems:
        return add_to(Kind::mapping, pop_to_mark());
      default:
        return object(opcode);
    }
  }

  void object(uint8_t opcode) {
    switch (opcode) {
      case kGlobal: {
        const std::string_view module = line(), name = line();
        return push_global(module, name);
      }
      case kStackGlobal: {
        const size_t name = pop(), module = pop();
        return push_global(nodes[module].text, nodes[name].text);
      }
      case kBinPersistentId:
        return push({.kind = Kind::persistent, .items = pop(1)});
      case kReduce:
      case kNewObject:
        return call();
      case kBuild:
        return build();
      default:
        return fail(fmt::format("it has the opcode {:#04x}, which is not known here", opcode));
    }
  }

  void run() {
    while (problem.empty()) {
      const uint8_t opcode = number<uint8_t>();
      if (!problem.empty() || opcode == kStop) return;
      step(opcode);
      if (++values > kMaxValues) fail(fmt::format("it holds more than {} values", kMaxValues));
    }
  }
};

}  // namespace

const PickleNode* Pickle::find(const PickleNode& mapping, std::string_view key) const {
  if (mapping.kind != Kind::mapping) return nullptr;
  for (size_t i = mapping.items.size(); i >= 2; i -= 2) {
    const PickleNode& name = nodes[mapping.items[i - 2]];
    if (name.kind == Kind::text && name.text == key) return &nodes[mapping.items[i - 1]];
  }
  return nullptr;
}

Result<Pickle> read_pickle(std::string_view bytes, std::span<const std::string_view> allowed, std::string_view origin) {
  Machine machine{.bytes = bytes, .allowed = allowed};
  machine.run();
  const size_t root = machine.pop();
  if (!machine.problem.empty()) return error("{}: {}", origin, machine.problem);
  return Pickle{std::move(machine.nodes), root, machine.at};
}

}  // namespace hivq
