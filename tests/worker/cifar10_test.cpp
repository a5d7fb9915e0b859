#include "worker/data/cifar10.h"

#include "tests/worker/data_fixture.h"
#include "worker/data/cifar10_batch.h"
#include "worker/data/file.h"
#include "worker/data/tar.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
const std::string kGolden = HIVQ_SOURCE_DIR "/tests/worker/golden/";  // by make_cifar10.py
const std::string kPython = "cifar-10-python.tar.gz", kBinary = "cifar-10-binary.tar.gz";

at::Tensor image_of(int64_t i) {
  const at::Tensor c = at::arange(3).view({1, 1, 3}), y = at::arange(32).view({32, 1, 1}),
                   x = at::arange(32).view({1, 32, 1});
  return (37 * i + 50 * c + 3 * y + 5 * x).remainder(256).to(at::kByte);
}

class Cifar10 : public DataFolder {
 protected:
  void SetUp() override {
    DataFolder::SetUp();
    data.name = "cifar10";
  }
  void copy(const std::string& archive) { fs::copy_file(kGolden + archive, folder + "/" + archive); }
  void unpack(const std::string& archive, const std::string& to) {
    const auto files = read_tar(kGolden + archive, [](std::string_view name) {
      return name.find("batch_") != name.npos || name.starts_with("test_batch");
    });
    for (const auto& [name, bytes] : files.value()) write(to + name, bytes);
  }
};

TEST_F(Cifar10, ReadsThePythonArchiveInTheManyClassProtocol) {
  copy(kPython);
  const ImageSet set = load();
  EXPECT_EQ(set.protocol, Protocol::many_class);
  EXPECT_EQ(set.class_names.at(9), "truck");
  EXPECT_FALSE(set.mask);
  ASSERT_EQ(set.train.size(), 10u);  // of 20 images with the labels 7·i mod 10, those below 5
  ASSERT_EQ(set.test.size(), 4u);
  std::vector<int64_t> sources;
  for (int64_t i = 0; i < 20; ++i) {
    if (7 * i % 10 < 5) sources.push_back(i);
  }
  for (size_t k = 0; k < sources.size(); ++k) {
    EXPECT_EQ(set.train[k].class_index, 7 * sources[k] % 10);
    EXPECT_EQ(set.train[k].name, fmt::format("training image {}", sources[k]));
    EXPECT_TRUE(at::equal(set.decode(static_cast<int64_t>(k)).value(), image_of(sources[k]))) << k;
  }
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(set.test[static_cast<size_t>(i)].class_index, 7 * i % 10);
    EXPECT_EQ(set.test[static_cast<size_t>(i)].anomalous, 7 * i % 10 >= 5);
    EXPECT_TRUE(at::equal(set.decode(10 + i).value(), image_of(100 + i))) << i;
  }
}

TEST_F(Cifar10, EveryFormIsTheSameDataSet) {
  copy(kPython);
  const ImageSet packed = load();
  const auto expect_same = [&](const char* form) {
    const ImageSet set = load();
    EXPECT_EQ(set.identity, packed.identity) << form;
    for (int64_t i = 0; i < set.size(); ++i) EXPECT_TRUE(at::equal(set.decode(i).value(), packed.decode(i).value()));
    fs::remove_all(folder);
    fs::create_directories(folder);
  };
  expect_same("packed for Python");
  copy(kBinary);
  expect_same("packed, binary");
  unpack(kPython, "");
  expect_same("for Python");
  unpack(kPython, "cifar-10-batches-py/");
  expect_same("for Python, in its folder");
  unpack(kBinary, "");
  expect_same("binary");
  unpack(kBinary, "cifar-10-batches-bin/");
  expect_same("binary, in its folder");
}

TEST_F(Cifar10, SaysWhatIsMissingOrDamaged) {
  EXPECT_NE(message().find("data.path is " + folder + ", which does not hold CIFAR-10: data_batch_1.bin"),
            std::string::npos)
      << message();
  copy(kPython);
  fs::resize_file(folder + "/" + kPython, 1500);
  EXPECT_TRUE(message().starts_with(folder + "/" + kPython + " is damaged: ")) << message();
  write(kPython, "no archive");
  EXPECT_TRUE(message().starts_with(folder + "/" + kPython + " is damaged: ")) << message();
  unpack(kBinary, "");
  const std::string batch = read_file(folder + "/data_batch_2.bin").value();
  write("data_batch_2.bin", batch.substr(0, 5000));
  EXPECT_EQ(message(), folder +
                           "/data_batch_2.bin is truncated: 5000 bytes are no multiple of 3073, the bytes of an "
                           "image and its label");
  write("data_batch_2.bin", std::string(batch).replace(3073, 1, "\x0a"));
  EXPECT_EQ(message(), folder + "/data_batch_2.bin is damaged: image 1 has the label 10, but the classes are 0 to 9");
  write("data_batch_2.bin", batch);
  write("test_batch.bin", "");
  EXPECT_TRUE(message().starts_with(folder + " has no test images; it must hold ")) << message();
}

TEST_F(Cifar10, AnArchiveThatIsNotThereIsNamed) {
  const auto files = read_tar("/nowhere/a.tar.gz", [](std::string_view) { return true; });
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().message, "cannot read /nowhere/a.tar.gz: No such file or directory");
}

TEST_F(Cifar10, AClassWithoutTrainingImagesIsAnError) {
  unpack(kBinary, "");
  for (int i = 2; i <= 5; ++i) fs::remove(fmt::format("{}/data_batch_{}.bin", folder, i));
  data.normal_classes = {0, 3};  // the labels of the first batch are 0, 7, 4 and 1
  EXPECT_EQ(message(), "class 3 (cat) of cifar10 has no training images; leave it out of data.normal_classes");
}

TEST_F(Cifar10, APickleThatIsNoBatchIsRefused) {
  const auto says = [](const std::string& bytes) {
    const auto batch = read_python_batch(bytes, "batch");
    return batch ? "no error" : batch.error().message;
  };
  EXPECT_EQ(says("\x80\x02]."), "batch is no batch of CIFAR-10: it has no `labels`");
  EXPECT_EQ(says("\x80\x02}U\x06labels]K\x03\x61s."),
            "batch is no batch of CIFAR-10: its `data` is no array of 1 × 3072 bytes");
  EXPECT_EQ(says("\x80\x02}U\x06labels]K\x0c\x61s."),
            "batch is damaged: image 0 has the label 12, but the classes are 0 to 9");
  EXPECT_NE(says("\x80\x02}U\x06labels]K\x03\x61sU\x04"
                 "datacos\nsystem\nU\x02ls\x85Rs.")
                .find("os.system"),
            std::string::npos);
  const auto files = read_tar(kGolden + kPython, [](std::string_view name) { return name == "data_batch_1"; }).value();
  const std::string& whole = files.at("data_batch_1");
  ASSERT_TRUE(read_python_batch(whole, "batch"));
  for (size_t kept = 0; kept < whole.size(); kept += 97) EXPECT_NE(says(whole.substr(0, kept)), "no error") << kept;
}

}  // namespace
}  // namespace hivq
