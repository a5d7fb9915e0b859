#include "worker/data/torch_file.h"

#include <torch/torch.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "worker/data/pickle.h"
#include "worker/data/zip.h"

namespace hivq {
namespace {

using Kind = PickleNode::Kind;

constexpr std::string_view kZipMark = "PK\3\4";
constexpr std::string_view kPickleMark = "\x80";
// serialization.py's MAGIC_NUMBER, 0x1950a86a20f9469cfc6c, in the pickle that every old file begins with.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr size_t kMagicWithin = 32;  // bytes: whatever protocol it was pickled with
constexpr int64_t kFormatVersion = 1001;

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";

struct StorageType {
  std::string_view global;
  at::ScalarType type;
};
constexpr StorageType kStorageTypes[] = {{"torch.FloatStorage", at::kFloat}, {"torch.DoubleStorage", at::kDouble},
                                         {"torch.HalfStorage", at::kHalf},   {"torch.BFloat16Storage", at::kBFloat16},
                                         {"torch.LongStorage", at::kLong},   {"torch.IntStorage", at::kInt},
                                         {"torch.ByteStorage", at::kByte},   {"torch.BoolStorage", at::kBool}};

// What a file may name. numpy's scalars stand in checkpoints as the best metric so far; they are passed over.
constexpr std::string_view kAllowed[] = {kRebuildTensor,
                                         kRebuildParameter,
                                         "torch.FloatStorage",
                                         "torch.DoubleStorage",
                                         "torch.HalfStorage",
                                         "torch.BFloat16Storage",
                                         "torch.LongStorage",
                                         "torch.IntStorage",
                                         "torch.ByteStorage",
                                         "torch.BoolStorage",
                                         "torch.Size",
                                         "torch.device",
                                         "collections.OrderedDict",
                                         "collections.defaultdict",
                                         "builtins.set",
                                         "__builtin__.set",
                                         "builtins.dict",
                                         "builtins.list",
                                         "numpy.dtype",
                                         "numpy.core.multiarray.scalar",
                                         "numpy._core.multiarray.scalar",
                                         "_codecs.encode"};

/// What both formats hold: the saved object, and the storages' bytes by key.
struct Contents {
  Pickle object;
  std::map<std::string, std::string_view> storages;
};

struct StorageId {
  std::string key;
  at::ScalarType type = at::kFloat;
};

/// A persistent node: ("storage", type, key, device, elements), in old files with a view, which is None but in the
/// oldest.
std::optional<StorageId> storage_id(const Pickle& pickle, const PickleNode& node) {
  if (node.kind != Kind::persistent) return std::nullopt;
  const PickleNode& parts = pickle[node.items[0]];
  if (parts.kind != Kind::sequence || parts.items.size() < 5 || pickle[parts.items[0]].text != "storage")
    return std::nullopt;
  if (parts.items.size() > 5 && pickle[parts.items[5]].kind != Kind::none) return std::nullopt;
  const PickleNode &type = pickle[parts.items[1]], &key = pickle[parts.items[2]];
  const auto known = std::ranges::find(kStorageTypes, std::string_view(type.text), &StorageType::global);
  if (known == std::end(kStorageTypes) || key.kind != Kind::text) return std::nullopt;
  return StorageId{key.text, known->type};
}

Result<Contents> open_zip(std::string_view bytes, std::string_view origin) {
  auto files = read_zip(bytes, origin);
  if (!files) return files.error();
  const auto is_object = [](const auto& file) { return file.first.ends_with("/data.pkl"); };
  const auto object = std::ranges::find_if(*files, is_object);
  if (object == files->end())
    return error("{}: it is a zip archive without data.pkl: torch.save did not write it", origin);
  const std::string folder = object->first.substr(0, object->first.size() - std::string_view("data.pkl").size());
  const auto order = files->find(folder + "byteorder");
  if (order != files->end() && order->second != "little") return error("{}: its numbers are not little-endian", origin);

  Result<Pickle> pickle = read_pickle(object->second, kAllowed, origin);
  if (!pickle) return pickle.error();
  Contents contents{std::move(*pickle), {}};
  const std::string data = folder + "data/";
  for (const auto& [name, file] : *files) {
    if (name.starts_with(data)) contents.storages[name.substr(data.size())] = file;
  }
  return contents;
}

/// The storages behind an old file's pickles, in the order of `keys`: a count of elements, then the elements.
Status take_storages(Contents& contents, std::string_view bytes, const Pickle& keys, std::string_view origin) {
  std::map<std::string, at::ScalarType> types;
  for (const PickleNode& node : contents.object.nodes) {
    if (const auto id = storage_id(contents.object, node)) types[id->key] = id->type;
  }
  for (const size_t item : keys[keys.root].items) {
    const auto type = types.find(keys[item].text);
    if (type == types.end()) return error("{}: storage `{}` belongs to no tensor", origin, keys[item].text);
    uint64_t count = 0;
    if (bytes.size() < sizeof count)
      return error("{}: it ends before storage `{}`: it is truncated", origin, type->first);
    std::memcpy(&count, bytes.data(), sizeof count);
    bytes.remove_prefix(sizeof count);
    const size_t element = c10::elementSize(type->second);
    if (count > bytes.size() / element) {
      return error("{}: it ends within storage `{}` of {} elements: it is truncated", origin, type->first, count);
    }
    contents.storages[type->first] = bytes.substr(0, count * element);
    bytes.remove_prefix(count * element);
  }
  return {};
}

/// Pickles of the magic number, the version, facts about the writer's machine, the object, and the storages' keys.
Result<Contents> open_row_of_pickles(std::string_view bytes, std::string_view origin) {
  std::vector<Pickle> pickles;
  for (int i = 0; i < 5; ++i) {
    Result<Pickle> pickle = read_pickle(bytes, kAllowed, origin);
    if (!pickle) return pickle.error();
    bytes.remove_prefix(pickle->bytes);
    pickles.push_back(std::move(*pickle));
  }
  const Pickle &version = pickles[1], &machine = pickles[2];
  if (pickles[0][pickles[0].root].text != kMagic || version[version.root].integer != kFormatVersion) {
    return error("{}: it is no file of torch.save that is known here", origin);
  }
  const PickleNode* little_endian = machine.find(machine[machine.root], "little_endian");
  if (!little_endian || little_endian->integer != 1) return error("{}: its numbers are not little-endian", origin);

  Contents contents{std::move(pickles[3]), {}};
  if (Status taken = take_storages(contents, bytes, pickles[4], origin); !taken) return taken.error();
  return contents;
}

/// Sizes, or strides: a sequence of counts.
std::optional<std::vector<int64_t>> counts_of(const Pickle& pickle, const PickleNode& node) {
  constexpr size_t kMaxDimensions = 64;
  constexpr int64_t kMaxCount = int64_t{1} << 40;
  std::vector<int64_t> counts;
  if (node.kind != Kind::sequence || node.items.size() > kMaxDimensions) return std::nullopt;
  for (const size_t item : node.items) {
    if (pickle[item].kind != Kind::integer || pickle[item].integer < 0 || pickle[item].integer > kMaxCount)
      return std::nullopt;
    counts.push_back(pickle[item].integer);
  }
  return counts;
}

/// Whether a view lies within a storage of so many elements, and has no more elements than it.
bool fits(int64_t storage, int64_t offset, const std::vector<int64_t>& size, const std::vector<int64_t>& stride) {
  if (offset < 0 || offset > storage || size.size() != stride.size()) return false;
  if (std::ranges::find(size, 0) != size.end()) return true;
  int64_t elements = 1, last = offset;
  for (size_t i = 0; i < size.size(); ++i) {
    if (size[i] > storage / elements || (size[i] > 1 && stride[i] > storage / (size[i] - 1))) return false;
    elements *= size[i];
    last += (size[i] - 1) * stride[i];
    if (last >= storage) return false;
  }
  return last < storage;
}

/// The arguments of a call of `function`, where `node` is one with at least so many; otherwise null.
const PickleNode* arguments_of(const Pickle& pickle, const PickleNode& node, std::string_view function, size_t count) {
  if (node.kind != Kind::call || pickle[node.items[0]].text != function) return nullptr;
  const PickleNode& arguments = pickle[node.items[1]];
  return arguments.items.size() >= count ? &arguments : nullptr;
}

/// Rebuilds tensors from what _rebuild_tensor_v2 is called with: storage, offset, size, stride.
struct TensorReader {
  const Contents& contents;
  std::string_view origin;
  uint64_t bytes_left;  // so that a small file of many views of one storage cannot fill the memory

  Result<at::Tensor> read(const std::string& name, const PickleNode& arguments) {
    const Pickle& pickle = contents.object;
    const auto wrong = [&](std::string_view what) { return error("{}: tensor `{}` {}", origin, name, what); };
    const auto id = storage_id(pickle, pickle[arguments.items[0]]);
    if (!id) return wrong("has a storage of a kind that is not known here");
    const auto found = contents.storages.find(id->key);
    if (found == contents.storages.end()) return wrong(fmt::format("lies in storage `{}`, which is missing", id->key));
    const PickleNode& offset = pickle[arguments.items[1]];
    const auto size = counts_of(pickle, pickle[arguments.items[2]]),
               stride = counts_of(pickle, pickle[arguments.items[3]]);
    const auto elements = static_cast<int64_t>(found->second.size() / c10::elementSize(id->type));
    if (offset.kind != Kind::integer || !size || !stride || !fits(elements, offset.integer, *size, *stride)) {
      return wrong(fmt::format("does not lie within its storage of {} elements", elements));
    }
    return copy(*id, found->second, offset.integer, *size, *stride, wrong);
  }

  template <typename Wrong>
  Result<at::Tensor> copy(const StorageId& id, std::string_view bytes, int64_t offset, const std::vector<int64_t>& size,
                          const std::vector<int64_t>& stride, const Wrong& wrong) {
    if (std::ranges::find(size, 0) != size.end()) return at::empty(size, id.type);
    const size_t element = c10::elementSize(id.type);
    int64_t span = 1;  // elements of the storage from the view's first to its last; the view is packed out of them
    for (size_t i = 0; i < size.size(); ++i) span += (size[i] - 1) * stride[i];
    const uint64_t needed = static_cast<uint64_t>(span) * element;
    if (needed > bytes_left) return wrong("and those before it share their storages too often");
    bytes_left -= needed;
    const at::Tensor elements = at::empty({span}, id.type);
    std::memcpy(elements.mutable_data_ptr(), bytes.data() + static_cast<size_t>(offset) * element, needed);
    return elements.as_strided(size, stride).contiguous();
  }
};

/// The mapping that holds the tensors: the root, or what lies below it.
const PickleNode& state_dict_of(const Pickle& pickle) {
  const PickleNode* state = &pickle[pickle.root];
  for (int depth = 0; depth < 4; ++depth) {
    const PickleNode* below = pickle.find(*state, "state_dict");
    if (!below || below->kind != Kind::mapping) below = pickle.find(*state, "model");
    if (!below || below->kind != Kind::mapping) break;
    state = below;
  }
  return *state;
}

}  // namespace

bool is_torch_file(std::string_view bytes) {
  if (bytes.starts_with(kPickleMark)) return bytes.substr(0, kMagicWithin).find(kMagic) != std::string_view::npos;
  return bytes.starts_with(kZipMark);
}

Result<SafeTensors> read_torch_file(std::string_view bytes, std::string_view origin) {
  const Result<Contents> contents =
      bytes.starts_with(kZipMark) ? open_zip(bytes, origin) : open_row_of_pickles(bytes, origin);
  if (!contents) return contents.error();
  const Pickle& pickle = contents->object;
  const PickleNode& state = state_dict_of(pickle);
  TensorReader reader{*contents, origin, 4 * bytes.size()};
  SafeTensors file;
  for (size_t i = 0; state.kind == Kind::mapping && i < state.items.size(); i += 2) {
    const PickleNode &name = pickle[state.items[i]], *value = &pickle[state.items[i + 1]];
    if (const auto* parameter = arguments_of(pickle, *value, kRebuildParameter, 1))
      value = &pickle[parameter->items[0]];
    const PickleNode* arguments = arguments_of(pickle, *value, kRebuildTensor, 4);
    if (!arguments || name.kind != Kind::text) continue;
    Result<at::Tensor> tensor = reader.read(name.text, *arguments);
    if (!tensor) return tensor.error();
    file.tensors.insert_or_assign(name.text, std::move(*tensor));
  }
  if (file.tensors.empty()) {
    return error("{}: it holds no tensors; it must be a state dict, or hold one as `state_dict` or `model`", origin);
  }
  return file;
}

}  // namespace hivq
