#include "worker/data/cifar10.h"

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <memory>

#include "common/sha256.h"
#include "worker/data/cifar10_batch.h"
#include "worker/data/file.h"
#include "worker/data/listed_images.h"
#include "worker/data/tar.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kLayout =
    "CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin, or cifar-10-binary.tar.gz, or "
    "cifar-10-python.tar.gz";
const std::vector<std::string> kClassNames = {"airplane", "automobile", "bird",  "cat",  "deer",
                                              "dog",      "frog",       "horse", "ship", "truck"};

bool is_batch(std::string_view name) {
  if (name.ends_with(".bin")) name.remove_suffix(4);
  return name == "test_batch" || (name.size() == 12 && name.starts_with("data_batch_"));
}

/// Files by name, which is the order of the batches.
using Files = std::map<std::string, std::string>;

Result<Files> read_folder(const std::string& folder, bool binary) {
  Files files;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    const std::string name = it->path().filename().string();
    if (!is_batch(name) || name.ends_with(".bin") != binary) continue;
    Result<std::string> bytes = read_file(it->path().string());
    if (!bytes) return bytes.error();
    files[name] = std::move(*bytes);
  }
  if (failure) return error("cannot read {}: {}", folder, failure.message());
  return files;
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

struct Source {
  std::string place;  // a folder or an archive
  bool binary = false;
  Files files;
};

/// The first form of the data set that is there.
Result<Source> find_batches(const std::string& folder) {
  const auto opened = [](const std::string& place, bool binary, Result<Files> files) -> Result<Source> {
    if (!files) return files.error();
    return Source{place, binary, std::move(*files)};
  };
  for (const bool binary : {true, false}) {
    for (const std::string& place : {folder, folder + (binary ? "/cifar-10-batches-bin" : "/cifar-10-batches-py")}) {
      if (is_there(place + (binary ? "/test_batch.bin" : "/test_batch"))) {
        return opened(place, binary, read_folder(place, binary));
      }
    }
    const std::string archive = folder + (binary ? "/cifar-10-binary.tar.gz" : "/cifar-10-python.tar.gz");
    if (is_there(archive)) return opened(archive, binary, read_tar(archive, is_batch));
  }
  return error("data.path is {}, which does not hold {}", folder, kLayout);
}

struct Parts {
  Cifar10Batch train, test;
};

Result<Parts> read_parts(const Source& source) {
  Parts parts;
  for (const auto& [name, bytes] : source.files) {
    const std::string origin = source.place + "/" + name;
    const Result<Cifar10Batch> batch =
        source.binary ? read_binary_batch(bytes, origin) : read_python_batch(bytes, origin);
    if (!batch) return batch.error();
    Cifar10Batch& part = name.starts_with("test") ? parts.test : parts.train;
    part.labels.insert(part.labels.end(), batch->labels.begin(), batch->labels.end());
    part.pixels += batch->pixels;
  }
  if (parts.train.labels.empty() || parts.test.labels.empty()) {
    return error("{} has no {} images; it must hold {}", source.place, parts.train.labels.empty() ? "training" : "test",
                 kLayout);
  }
  return parts;
}

std::string hash_of(const Cifar10Batch& part) {
  return sha256_hex(sha256_hex({reinterpret_cast<const char*>(part.labels.data()), part.labels.size()}) +
                    sha256_hex(part.pixels));
}

at::Tensor image_at(const Cifar10Batch& part, int64_t position) {
  constexpr int64_t kSide = Cifar10Batch::kSide;
  char* planes = const_cast<char*>(part.pixels.data()) + position * Cifar10Batch::kImageBytes;
  return at::from_blob(planes, {3, kSide, kSide}, at::kByte).permute({1, 2, 0}).contiguous();
}

}  // namespace

Result<ImageSet> load_cifar10(const DataSpec& data) {
  const Result<std::string> folder = folder_of(data, kLayout);
  if (!folder) return folder.error();
  const Result<Source> source = find_batches(*folder);
  if (!source) return source.error();
  Result<Parts> read = read_parts(*source);
  if (!read) return read.error();
  const auto parts = std::make_shared<const Parts>(std::move(*read));
  Result<ManyClassSplit> split = split_many_class(data, kClassNames, parts->train.labels, parts->test.labels);
  if (!split) return split.error();

  ImageSet set =
      image_set_of(*split, kClassNames, fmt::format("cifar10 {} {}", hash_of(parts->train), hash_of(parts->test)));
  set.decode = [parts, train = std::move(split->train_source),
                test = std::move(split->test_source)](int64_t index) -> Result<at::Tensor> {
    const auto i = static_cast<size_t>(index);
    return i < train.size() ? image_at(parts->train, train[i]) : image_at(parts->test, test.at(i - train.size()));
  };
  return set;
}

}  // namespace hivq
