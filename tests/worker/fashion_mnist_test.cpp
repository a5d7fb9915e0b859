#include "worker/data/fashion_mnist.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <map>

#include "worker/data/file.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFolder = "/usr/share/datasets/fashion-mnist";

ImageSet load(const DataSpec& data) {
  auto set = load_fashion_mnist(data);
  if (!set) panic(set.error().message);
  return *set;
}

std::map<int64_t, int> count(const std::vector<ImageRecord>& records) {
  std::map<int64_t, int> counts;
  for (const ImageRecord& record : records) ++counts[record.class_index];
  return counts;
}

TEST(FashionMnist, FollowsTheManyClassProtocol) {
  const ImageSet set = load(DataSpec{});
  EXPECT_EQ(set.class_names.size(), 10u);
  EXPECT_EQ(set.class_names[9], "Ankle boot");
  EXPECT_EQ(set.trained_classes, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  for (const auto& [index, n] : count(set.train)) {
    EXPECT_LT(index, 5);
    EXPECT_EQ(n, 6000);
  }
  EXPECT_EQ(set.train.size(), 30'000u);
  EXPECT_EQ(set.test.size(), 10'000u);
  for (const ImageRecord& record : set.train) EXPECT_FALSE(record.anomalous);
  for (const ImageRecord& record : set.test) EXPECT_EQ(record.anomalous, record.class_index >= 5);
}

TEST(FashionMnist, TakesTheFirstOfEachClassInFileOrder) {
  DataSpec data;
  data.normal_classes = {9, 2};
  data.train_per_class = 2;
  data.test_per_class = 1;
  const ImageSet few = load(data);
  EXPECT_EQ(few.trained_classes, (std::vector<int64_t>{9, 2}));
  EXPECT_EQ(count(few.train), (std::map<int64_t, int>{{2, 2}, {9, 2}}));
  EXPECT_EQ(few.test.size(), 10u);
  // The file's first labels are 9 0 0 3 0 2 7 2 5 5 0 9 (training) and 9 2 1 1 6 1 4 6 5 7 (test).
  const auto classes = [](const std::vector<ImageRecord>& records) {
    std::vector<int64_t> indices;
    for (const ImageRecord& record : records) indices.push_back(record.class_index);
    return indices;
  };
  EXPECT_EQ(classes(few.train), (std::vector<int64_t>{9, 2, 2, 9}));
  EXPECT_EQ(classes(few.test), (std::vector<int64_t>{9, 2, 1, 6, 4, 5, 7, 3, 8, 0}));

  data.normal_classes = {};
  data.train_per_class = data.test_per_class = 0;
  const ImageSet all = load(data);
  EXPECT_EQ(all.train.size(), 60'000u);
  for (const ImageRecord& record : all.test) EXPECT_FALSE(record.anomalous);
  EXPECT_TRUE(at::equal(few.decode(0).value(), all.decode(0).value()));
  EXPECT_TRUE(at::equal(few.decode(1).value(), all.decode(5).value()));
  EXPECT_TRUE(at::equal(few.decode(3).value(), all.decode(11).value()));
  EXPECT_TRUE(at::equal(few.decode(4).value(), all.decode(60'000).value()));
  EXPECT_TRUE(at::equal(few.decode(7).value(), all.decode(60'004).value()));
}

TEST(FashionMnist, DecodesGreyAsRgb) {
  const ImageSet set = load(DataSpec{});
  const at::Tensor boot = set.decode(30'000).value();  // the first test image
  EXPECT_EQ(boot.sizes(), (std::vector<int64_t>{28, 28, 3}));
  EXPECT_EQ(boot.scalar_type(), at::kByte);
  EXPECT_TRUE(at::equal(boot.select(2, 0), boot.select(2, 2)));
  EXPECT_EQ(boot.select(2, 0).sum().item<int64_t>(), 33'456);  // counted by numpy
}

TEST(FashionMnist, IdentityTellsSelectionsApart) {
  DataSpec data;
  const std::string identity = load(data).identity;
  data.normal_classes = {4, 3, 2, 1, 0};
  EXPECT_EQ(load(data).identity, identity);  // the same images in the same order
  data.normal_classes = {0, 1, 2, 3};
  EXPECT_NE(load(data).identity, identity);
  data.normal_classes = {0, 1, 2, 3, 4};
  data.train_per_class = 10;
  EXPECT_NE(load(data).identity, identity);
}

TEST(FashionMnist, RefusesClassesThatDoNotExist) {
  const auto message = [](std::vector<int64_t> classes) {
    DataSpec data;
    data.normal_classes = std::move(classes);
    const auto set = load_images(data);
    return set ? "no error" : set.error().message;
  };
  EXPECT_EQ(message({0, 10}), "data.normal_classes names class 10, but fashion-mnist has the classes 0 to 9");
  EXPECT_EQ(message({-1}), "data.normal_classes names class -1, but fashion-mnist has the classes 0 to 9");
  EXPECT_EQ(message({3, 3}), "data.normal_classes names class 3 twice; name each class once");
}

TEST(FashionMnist, NamesTheFileAndTheRemedyWhereTheDataIsMissingOrDamaged) {
  const std::string folder = testing::TempDir() + fmt::format("/hivq_fashion_{}", ::getpid());
  DataSpec data;
  data.path = folder;
  const auto says = [&](const std::string& file, const std::string& what) {
    auto set = load_images(data);
    std::string message = set ? "" : set.error().message;
    if (set) {
      const auto image = set->decode(0);  // images are read only now
      message = image ? "no error" : image.error().message;
    }
    EXPECT_NE(message.find(folder + "/" + file), std::string::npos) << message;
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_NE(message.find("apt-get install dataset-fashion-mnist"), std::string::npos) << message;
    EXPECT_NE(message.find("data.path"), std::string::npos) << message;
  };
  says("train-images-idx3-ubyte.gz", "No such file");
  fs::copy(kFolder, folder);
  fs::resize_file(folder + "/train-images-idx3-ubyte.gz", 1'000'000);
  says("train-images-idx3-ubyte.gz", "truncated");
  fs::copy_file(folder + "/t10k-images-idx3-ubyte.gz", folder + "/train-images-idx3-ubyte.gz",
                fs::copy_options::overwrite_existing);
  says("train-images-idx3-ubyte.gz", "holds 10000 images, but there are 60000 labels");
  fs::copy_file(folder + "/t10k-images-idx3-ubyte.gz", folder + "/t10k-labels-idx1-ubyte.gz",
                fs::copy_options::overwrite_existing);
  says("t10k-labels-idx1-ubyte.gz", "is not an IDX file of bytes with 1 dimensions");
  fs::remove_all(folder);
}

TEST(FashionMnist, UnknownDataSetsAreListed) {
  DataSpec data;
  data.name = "fashion_mnist";
  const auto set = load_images(data);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().message,
            "data.name is `fashion_mnist`; the known data sets are: fashion-mnist, cifar10, mvtec, visa, json-lines");
}

}  // namespace
}  // namespace hivq
