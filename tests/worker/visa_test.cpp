#include "tests/worker/data_fixture.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
const std::string kHeader = "object,split,label,image,mask\n";
const std::string kRows =
    "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n"
    "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
    "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\r\n"
    "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\n"
    "pcb1,test,normal,pcb1/Data/Images/Normal/0001.JPG,\n";

class Visa : public DataFolder {
 protected:
  void SetUp() override {
    DataFolder::SetUp();
    data.name = "visa";
    for (const std::string name : {"candle", "pcb1"}) {
      for (int i = 0; i < 2; ++i) write_image(fmt::format("{}/Data/Images/Normal/{:04}.JPG", name, i), 10 + i);
    }
    write_image("candle/Data/Images/Anomaly/000.JPG", 50);
    write_image("candle/Data/Masks/Anomaly/000.png", 3);  // the label of a kind of defect
    write("split_csv/1cls.csv", kHeader + kRows);
  }
  const std::string csv = folder + "/split_csv/1cls.csv";
};

TEST_F(Visa, ReadsTheOneClassSplit) {
  const ImageSet set = load();
  EXPECT_EQ(set.protocol, Protocol::defects);
  EXPECT_EQ(set.class_names, (Names{"candle", "pcb1"}));
  EXPECT_EQ(names_of(set.train), (Names{"pcb1/Data/Images/Normal/0000.JPG", "candle/Data/Images/Normal/0000.JPG"}));
  EXPECT_EQ(set.train[0].class_index, 1);
  EXPECT_EQ(set.test.size(), 3u);
  EXPECT_TRUE(set.test[0].anomalous);
  EXPECT_FALSE(set.test[1].anomalous);
}

TEST_F(Visa, SmallLabelsOfAMaskAreDefects) {
  const ImageSet set = load();
  EXPECT_TRUE(at::equal(set.mask(0).value(), at::ones({8, 12}, at::kByte)));
  EXPECT_TRUE(at::equal(set.mask(1).value(), at::zeros({8, 12}, at::kByte)));
}

TEST_F(Visa, NamesTheLineOfAMistake) {
  const auto says = [this](const std::string& row, const std::string& what) {
    write("split_csv/1cls.csv", kHeader + kRows + row);
    EXPECT_EQ(message(), csv + ":7: " + what);
  };
  says("candle,test\n", "2 fields, not 5");
  says("candle,validation,normal,a.JPG,\n", "split is `validation`; it must be train or test");
  says("candle,test,good,a.JPG,\n", "label is `good`; it must be normal or anomaly");
  says("candle,train,anomaly,a.JPG,m.png\n", "an anomaly is among the training images, which must be normal");
  says("candle,test,anomaly,a.JPG,\n", "the anomaly has no mask");
  says(",test,normal,a.JPG,\n", "object or image is empty");
  says("candle,test,normal,a.JPG,\n", "cannot read the image " + folder + "/a.JPG: No such file or directory");
  write("split_csv/1cls.csv", "image,label\n");
  EXPECT_EQ(message(), csv + ":1: the columns must be object,split,label,image,mask");
  fs::remove(csv);
  EXPECT_EQ(message(), "cannot read " + csv +
                           ": No such file or directory; data.path must be the folder that holds VisA's class folders "
                           "and split_csv/1cls.csv");
}

}  // namespace
}  // namespace hivq
