#include "tests/worker/data_fixture.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

class Mvtec : public DataFolder {
 protected:
  void SetUp() override {
    DataFolder::SetUp();
    data.name = "mvtec";
    for (const std::string name : {"screw", "bottle"}) {
      for (int i = 0; i < 3; ++i) write_image(fmt::format("{}/train/good/{:03}.png", name, i), 10 + i);
      write_image(name + "/test/good/000.png", 20);
      for (int i = 0; i < 2; ++i) {
        write_image(fmt::format("{}/test/crack/{:03}.png", name, i), 30 + i);
        write_image(fmt::format("{}/ground_truth/crack/{:03}_mask.png", name, i), i == 0 ? 255 : 0);
      }
    }
    write("license.txt", "CC BY-NC-SA 4.0");
    write("bottle/train/good/Thumbs.db", "no image");
    write("bottle/train/good/.hidden.png", "no image");
  }
};

TEST_F(Mvtec, ListsClassesAndImagesByName) {
  const ImageSet set = load();
  EXPECT_EQ(set.protocol, Protocol::defects);
  EXPECT_EQ(set.class_names, (Names{"bottle", "screw"}));
  EXPECT_EQ(set.trained_classes, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(names_of(set.train),
            (Names{"bottle/train/good/000.png", "bottle/train/good/001.png", "bottle/train/good/002.png",
                   "screw/train/good/000.png", "screw/train/good/001.png", "screw/train/good/002.png"}));
  EXPECT_EQ(names_of(set.test),
            (Names{"bottle/test/crack/000.png", "bottle/test/crack/001.png", "bottle/test/good/000.png",
                   "screw/test/crack/000.png", "screw/test/crack/001.png", "screw/test/good/000.png"}));
  for (const ImageRecord& record : set.train) EXPECT_FALSE(record.anomalous);
  for (const ImageRecord& record : set.test) {
    EXPECT_EQ(record.anomalous, record.name.find("crack") != std::string::npos);
    EXPECT_EQ(set.class_names[static_cast<size_t>(record.class_index)], record.name.substr(0, record.name.find('/')));
  }
}

TEST_F(Mvtec, DecodesImagesAndMasks) {
  const ImageSet set = load();
  EXPECT_TRUE(at::equal(set.decode(1).value(), at::full({8, 12, 3}, 11, at::kByte)));
  EXPECT_TRUE(at::equal(set.decode(6).value(), at::full({8, 12, 3}, 30, at::kByte)));
  EXPECT_TRUE(at::equal(set.mask(0).value(), at::ones({8, 12}, at::kByte)));
  EXPECT_TRUE(at::equal(set.mask(1).value(), at::zeros({8, 12}, at::kByte)));
  EXPECT_TRUE(at::equal(set.mask(2).value(), at::zeros({8, 12}, at::kByte)));
}

TEST_F(Mvtec, ChoosesClassesInTheOrderOfTheirNames) {
  data.classes = {"screw", "bottle"};
  EXPECT_EQ(load().class_names, (Names{"bottle", "screw"}));
  data.classes = {"screw"};
  EXPECT_EQ(load().class_names, (Names{"screw"}));
  EXPECT_EQ(load().train.size(), 3u);
  EXPECT_EQ(load().test.at(0).class_index, 0);
}

TEST_F(Mvtec, TakesFewerImagesSpreadOverTheListOfEachClass) {
  data.train_per_class = 2;
  data.test_per_class = 2;
  const ImageSet set = load();
  EXPECT_EQ(set.train.size(), 4u);
  EXPECT_EQ(names_of(set.test), (Names{"bottle/test/crack/000.png", "bottle/test/good/000.png",
                                       "screw/test/crack/000.png", "screw/test/good/000.png"}));
  data.test_per_class = 100;
  EXPECT_EQ(load().test.size(), 6u);
}

TEST_F(Mvtec, FoldersOfOnesOwnNeedNoGroundTruth) {
  for (const std::string name : {"screw", "bottle"}) fs::remove_all(folder + "/" + name + "/ground_truth");
  const ImageSet set = load();
  EXPECT_EQ(set.test.size(), 6u);
  EXPECT_FALSE(set.mask);
}

TEST_F(Mvtec, TheIdentityTellsAChangedImageAndNothingElse) {
  const std::string before = load().identity;
  EXPECT_EQ(load().identity, before);
  write_image("bottle/ground_truth/crack/000_mask.png", 1);
  EXPECT_EQ(load().identity, before);
  // The same size and, set back by hand, the same time of modification.
  const std::string image = folder + "/screw/train/good/001.png";
  const auto size = fs::file_size(image);
  const auto time = fs::last_write_time(image);
  write_image("screw/train/good/001.png", 99);
  ASSERT_EQ(fs::file_size(image), size);
  fs::last_write_time(image, time);
  EXPECT_NE(load().identity, before);
  data.classes = {"bottle"};
  EXPECT_NE(load().identity, before);
}

TEST_F(Mvtec, SaysWhereTheDataShouldBe) {
  const std::string layout =
      "a folder for each class with train/good/*.png, test/good/*.png, test/<defect>/*.png and "
      "ground_truth/<defect>/<stem>_mask.png";
  data.path = "";
  EXPECT_EQ(message(), "data.path is empty; set it to the folder that holds " + layout);
  data.path = folder + "/license.txt";
  EXPECT_EQ(message(),
            "data.path is " + data.path + ", which is no folder; it must be the folder that holds " + layout);
  data.path = folder + "/bottle";
  EXPECT_EQ(message(), "data.path is " + data.path + ", which holds no class; it must hold " + layout);
}

TEST_F(Mvtec, AnUnknownClassIsNamedWithTheNearest) {
  data.classes = {"bottel"};
  EXPECT_EQ(message(), "data.classes names bottel, which is no class of " + folder + "; did you mean bottle?");
  data.classes = {"hazelnut"};
  EXPECT_EQ(message(),
            "data.classes names hazelnut, which is no class of " + folder + "; its classes are: bottle, screw");
  data.classes = {"screw", "screw"};
  EXPECT_EQ(message(), "data.classes names screw twice");
}

TEST_F(Mvtec, AClassWithoutTrainingImagesIsAnError) {
  fs::remove_all(folder + "/screw/train/good");
  fs::create_directories(folder + "/screw/train/good");
  EXPECT_EQ(message(),
            "class screw of " + folder + " has no training images; add some, or leave it out of data.classes");
  data.classes = {"bottle"};
  EXPECT_EQ(message(), "no error");
  fs::remove_all(folder + "/bottle/test");
  EXPECT_EQ(message(), folder + " has no test images, so nothing could be measured");
}

TEST_F(Mvtec, AMaskOfAnotherSizeIsNamedWithBothSizes) {
  write_image("bottle/ground_truth/crack/001_mask.png", 255, 9, 12);
  EXPECT_EQ(message(), "the mask " + folder +
                           "/bottle/ground_truth/crack/001_mask.png has 12 × 9 pixels, but its image "
                           "bottle/test/crack/001.png has 12 × 8");
}

TEST_F(Mvtec, AMissingOrDamagedMaskIsNamed) {
  const std::string mask = folder + "/screw/ground_truth/crack/001_mask.png";
  fs::remove(mask);
  EXPECT_EQ(message(), "cannot read the mask of screw/test/crack/001.png " + mask + ": No such file or directory");
  write("screw/ground_truth/crack/001_mask.png", "no image");
  EXPECT_EQ(message(), mask +
                           " is no PNG, JPEG, TIFF or BMP image: it starts with 6e6f2069 (the mask of "
                           "screw/test/crack/001.png)");
}

TEST_F(Mvtec, ADamagedImageIsNamedWhenItIsDecoded) {
  write("bottle/train/good/001.png", "no image");
  const auto image = load().decode(1);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().message,
            folder + "/bottle/train/good/001.png is no PNG, JPEG, TIFF or BMP image: it starts with 6e6f2069");
}

}  // namespace
}  // namespace hivq
