#include "worker/data/fashion_mnist.h"

#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "common/sha256.h"
#include "worker/data/file.h"
#include "worker/data/idx.h"

namespace hivq {
namespace {

constexpr const char* kDefaultFolder = "/usr/share/datasets/fashion-mnist";
constexpr const char* kRemedy =
    "install the data set (apt-get install dataset-fashion-mnist) or set data.path to its folder";
const std::vector<std::string> kClassNames = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                              "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

Error with_remedy(const Error& what) { return error("{}; {}", what.message, kRemedy); }

/// One of the two parts of the data set: `train` or `t10k`.
struct Part {
  std::string images_path;
  std::vector<uint8_t> labels;
  std::string hash;  // of both files' bytes
};

/// The file, compressed as distributed or unpacked.
std::string find(const std::string& folder, const std::string& name) {
  const std::string packed = folder + "/" + name + ".gz", plain = folder + "/" + name;
  return !std::filesystem::exists(packed) && std::filesystem::exists(plain) ? plain : packed;
}

Result<Part> read_part(const std::string& folder, const std::string& prefix) {
  Part part;
  part.images_path = find(folder, prefix + "-images-idx3-ubyte");
  const std::string labels_path = find(folder, prefix + "-labels-idx1-ubyte");
  for (const std::string& path : {part.images_path, labels_path}) {
    const Result<std::string> bytes = read_file(path);
    if (!bytes) return with_remedy(bytes.error());
    part.hash += sha256_hex(*bytes);
  }
  Result<Idx> labels = read_idx(labels_path, 1);
  if (!labels) return with_remedy(labels.error());
  part.labels = std::move(labels->values);
  const auto highest = std::ranges::max_element(part.labels);
  if (highest != part.labels.end() && *highest >= kClassNames.size()) {
    return with_remedy(error("{} is damaged: it has the label {}, but the classes are 0 to {}", labels_path, *highest,
                             kClassNames.size() - 1));
  }
  return part;
}

Result<Idx> read_images(const Part& part) {
  Result<Idx> images = read_idx(part.images_path, 3);
  if (!images) return with_remedy(images.error());
  if (images->shape[0] != static_cast<int64_t>(part.labels.size())) {
    return with_remedy(
        error("{} holds {} images, but there are {} labels", part.images_path, images->shape[0], part.labels.size()));
  }
  return images;
}

/// Decodes by position in the split; unpacks a part when the first of its images is asked for.
class Decoder {
 public:
  Decoder(Part train, Part test, std::vector<int64_t> train_source, std::vector<int64_t> test_source)
      : parts_{{std::move(train), std::move(train_source), {}}, {std::move(test), std::move(test_source), {}}} {}

  Result<at::Tensor> decode(int64_t index) {
    const auto trained = static_cast<int64_t>(parts_[0].source.size());
    Source& from = parts_[index < trained ? 0 : 1];
    const int64_t position = from.source.at(static_cast<size_t>(index < trained ? index : index - trained));
    {
      const std::lock_guard lock(mutex_);
      if (!from.images) {
        Result<Idx> images = read_images(from.part);
        if (!images) return images.error();
        from.images = std::move(*images);
      }
    }
    const int64_t height = from.images->shape[1], width = from.images->shape[2];
    uint8_t* pixels = from.images->values.data() + position * height * width;
    return at::from_blob(pixels, {height, width, 1}, at::kByte).repeat({1, 1, 3});
  }

 private:
  struct Source {
    Part part;
    std::vector<int64_t> source;  // positions in the file
    std::optional<Idx> images;    // set once, then constant
  };
  Source parts_[2];
  std::mutex mutex_;
};

}  // namespace

Result<ImageSet> load_fashion_mnist(const DataSpec& data) {
  const std::string folder = data.path.empty() ? kDefaultFolder : data.path;
  Result<Part> train = read_part(folder, "train"), test = read_part(folder, "t10k");
  if (!train) return train.error();
  if (!test) return test.error();
  Result<ManyClassSplit> split = split_many_class(data, kClassNames, train->labels, test->labels);
  if (!split) return split.error();

  ImageSet set = image_set_of(*split, kClassNames, fmt::format("fashion-mnist {} {}", train->hash, test->hash));
  auto decoder = std::make_shared<Decoder>(std::move(*train), std::move(*test), std::move(split->train_source),
                                           std::move(split->test_source));
  set.decode = [decoder](int64_t index) { return decoder->decode(index); };
  return set;
}

}  // namespace hivq
