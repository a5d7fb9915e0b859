#include "worker/data/cifar10_batch.h"

#include <algorithm>
#include <array>

#include "worker/data/pickle.h"

namespace hivq {
namespace {

using Kind = PickleNode::Kind;

Error bad_label(const std::string& origin, size_t image, int64_t label) {
  return error("{} is damaged: image {} has the label {}, but the classes are 0 to {}", origin, image, label,
               Cifar10Batch::kClasses - 1);
}

/// The bytes of a pickled numpy array of `images` × kImageBytes bytes; null where the node is anything else. Its state
/// is (version, shape, dtype, whether in Fortran's order, bytes).
const std::string* bytes_of(const Pickle& pickle, const PickleNode* node, size_t images) {
  if (!node || node->kind != Kind::call || node->items.size() != 3) return nullptr;
  const PickleNode& state = pickle[node->items[2]];
  if (state.kind != Kind::sequence || state.items.size() != 5) return nullptr;
  const PickleNode &type = pickle[state.items[2]], &order = pickle[state.items[3]], &raw = pickle[state.items[4]];
  if (type.kind != Kind::call || type.items.size() < 2) return nullptr;
  const PickleNode& arguments = pickle[type.items[1]];
  if (arguments.kind != Kind::sequence || arguments.items.empty()) return nullptr;
  if (pickle[arguments.items[0]].text != "u1" || order.integer != 0) return nullptr;
  return raw.kind == Kind::text && raw.text.size() == images * Cifar10Batch::kImageBytes ? &raw.text : nullptr;
}

}  // namespace

Result<Cifar10Batch> read_binary_batch(std::string_view bytes, const std::string& origin) {
  constexpr size_t kRecordBytes = 1 + Cifar10Batch::kImageBytes;
  if (bytes.size() % kRecordBytes != 0) {
    return error("{} is truncated: {} bytes are no multiple of {}, the bytes of an image and its label", origin,
                 bytes.size(), kRecordBytes);
  }
  Cifar10Batch batch;
  for (size_t at = 0; at < bytes.size(); at += kRecordBytes) {
    const auto label = static_cast<uint8_t>(bytes[at]);
    if (label >= Cifar10Batch::kClasses) return bad_label(origin, batch.labels.size(), label);
    batch.labels.push_back(label);
    batch.pixels += bytes.substr(at + 1, Cifar10Batch::kImageBytes);
  }
  return batch;
}

Result<Cifar10Batch> read_python_batch(std::string_view bytes, const std::string& origin) {
  constexpr std::array<std::string_view, 4> kAllowed = {
      "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"};
  const Result<Pickle> pickle = read_pickle(bytes, kAllowed, origin);
  if (!pickle) return pickle.error();
  const PickleNode& root = (*pickle)[pickle->root];
  const bool mapping = root.kind == Kind::mapping;
  const PickleNode* labels = mapping ? pickle->find(root, "labels") : nullptr;
  if (!labels || labels->kind != Kind::sequence) return error("{} is no batch of CIFAR-10: it has no `labels`", origin);

  Cifar10Batch batch;
  for (const size_t item : labels->items) {
    const PickleNode& label = (*pickle)[item];
    if (label.kind != Kind::integer || label.integer < 0 || label.integer >= Cifar10Batch::kClasses) {
      return bad_label(origin, batch.labels.size(), label.integer);
    }
    batch.labels.push_back(static_cast<uint8_t>(label.integer));
  }
  const std::string* pixels = bytes_of(*pickle, pickle->find(root, "data"), batch.labels.size());
  if (!pixels) {
    return error("{} is no batch of CIFAR-10: its `data` is no array of {} × {} bytes", origin, batch.labels.size(),
                 Cifar10Batch::kImageBytes);
  }
  batch.pixels = *pixels;
  return batch;
}

}  // namespace hivq
