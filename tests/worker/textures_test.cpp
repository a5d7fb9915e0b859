#include "worker/data/textures.h"

#include <map>

#include "tests/worker/data_fixture.h"
#include "worker/data/defects.h"
#include "worker/data/file.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

class Textures : public DataFolder {
 protected:
  TextureOptions options;

  /// Two photos of noise, whose upper and lower halves differ: below 128, and above.
  void SetUp() override {
    DataFolder::SetUp();
    fs::create_directories(folder + "/photos");
    torch::manual_seed(11);
    for (const std::string name : {"sand", "cork"}) {
      const at::Tensor upper = at::randint(0, 120, {64, 90}), lower = at::randint(130, 250, {64, 90});
      write("photos/" + name + ".png", encode_png(at::cat({upper, lower}).to(at::kByte)));
    }
    options.photos = folder + "/photos";
    options.out = folder + "/out";
    options.crop = 64, options.train = 4, options.test_good = 2, options.test_per_defect = 3;
  }
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(options.out)) {
      if (!entry.is_regular_file()) continue;
      all[fs::relative(entry.path(), options.out).string()] = read_file(entry.path().string()).value();
    }
    return all;
  }
  std::string failure() const {
    const Status made = make_textures(options);
    return made ? "no error" : made.error().message;
  }
};

TEST_F(Textures, MakeADataSetInTheLayoutOfMvtec) {
  ASSERT_EQ(failure(), "no error");
  data.name = "mvtec";
  data.path = options.out;
  const ImageSet set = load();
  EXPECT_EQ(set.class_names, (Names{"cork", "sand"}));
  EXPECT_EQ(set.train.size(), 8u);
  EXPECT_EQ(set.test.size(), 2u * (2 + 5 * 3));
  for (int64_t i = 0; i < static_cast<int64_t>(set.test.size()); ++i) {
    const ImageRecord& record = set.test[static_cast<size_t>(i)];
    const double share = set.mask(i).value().to(at::kDouble).mean().item<double>();
    EXPECT_EQ(set.decode(8 + i).value().sizes(), (std::vector<int64_t>{64, 64, 3}));
    EXPECT_EQ(share > 0, record.anomalous) << record.name;
    EXPECT_LT(share, 0.3) << record.name;
  }
}

TEST_F(Textures, TrainingAndTestImagesAreOfDisjointPartsOfThePhoto) {
  ASSERT_EQ(failure(), "no error");
  for (const auto& [name, bytes] : files()) {
    const at::Tensor image = decode_image(bytes, name).value();
    if (name.find("train/good") != name.npos) {
      EXPECT_LT(image.max().item<int64_t>(), 120) << name;
    } else if (name.find("test/good") != name.npos) {
      EXPECT_GE(image.min().item<int64_t>(), 130) << name;
    }
  }
}

TEST_F(Textures, TheSameSeedGivesTheSameBytesAndAnotherSeedOthers) {
  ASSERT_EQ(failure(), "no error");
  const auto first = files();
  fs::remove_all(options.out);
  ASSERT_EQ(failure(), "no error");
  EXPECT_EQ(files(), first);
  fs::remove_all(options.out);
  options.seed = 2;
  ASSERT_EQ(failure(), "no error");
  const auto other = files();
  EXPECT_EQ(other.size(), first.size());
  for (const auto& [name, bytes] : first) {
    if (name.find("/test/scratch") != name.npos) {
      EXPECT_NE(other.at(name), bytes) << name;
    }
  }
}

TEST_F(Textures, AMaskHoldsWhatItsDefectChanged) {
  torch::manual_seed(5);
  const at::Tensor image = at::randint(90, 160, {96, 96, 3}, at::kByte);
  const at::Tensor other = at::randint(0, 60, {96, 96, 3}, at::kByte);
  for (const DefectKind& kind : defect_kinds()) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Dice dice(seed);
      const Defective defective = kind.paint(image, other, dice);
      const at::Tensor inside = defective.mask.ne(0);
      const at::Tensor change = (defective.image.to(at::kFloat) - image.to(at::kFloat)).abs().mean(2);
      const double area = inside.to(at::kDouble).mean().item<double>();
      EXPECT_GT(area, 0.001) << kind.name << seed;
      EXPECT_LT(area, 0.3) << kind.name << seed;
      EXPECT_GT(change.masked_select(inside).mean().item<double>(), 8) << kind.name << seed;
      EXPECT_LT(change.masked_select(inside.logical_not()).mean().item<double>(), 3) << kind.name << seed;
    }
  }
}

TEST_F(Textures, OnePhotoGivesEveryDefectButThePatchOfAnother) {
  fs::remove(folder + "/photos/sand.png");
  ASSERT_EQ(failure(), "no error");
  EXPECT_TRUE(fs::exists(options.out + "/cork/test/stain"));
  EXPECT_FALSE(fs::exists(options.out + "/cork/test/patch"));
}

TEST_F(Textures, SayWhatTheyLack) {
  write("out/kept.txt", "precious");
  EXPECT_EQ(failure(), options.out + " is there and not empty; remove it or choose another folder");
  fs::remove_all(options.out);
  options.crop = 65;
  EXPECT_EQ(failure(), options.photos + "/cork.png has 90 × 128 pixels; crops of 65 pixels want at least 65 × 130");
  options.crop = 8;
  EXPECT_EQ(failure(), "the crop is 8 pixels; it must be at least 32");
  options.crop = 64, options.train = 0;
  EXPECT_EQ(failure(), "there must be at least 1 image of each kind, not 0");
  options.train = 1;
  write("photos/notes.txt", "no image");
  EXPECT_EQ(failure(), options.photos + "/notes.txt is no PNG, JPEG, TIFF or BMP image: it starts with 6e6f2069");
  options.photos = folder + "/nowhere";
  EXPECT_EQ(failure(), "cannot read the photos in " + options.photos + ": No such file or directory");
}

}  // namespace
}  // namespace hivq
