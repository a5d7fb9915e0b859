#include "tests/worker/data_fixture.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

class JsonLines : public DataFolder {
 protected:
  void SetUp() override {
    DataFolder::SetUp();
    data.name = "json-lines";
    for (const std::string file : {"b/0.png", "b/1.png", "b/2.png", "a/0.png", "a/1.png"}) write_image(file, 40);
    write_image("b/1_mask.png", 255);
    write("train.json", R"({"filename": "b/0.png", "label": 0, "label_name": "good", "clsname": "bolt"}
{"filename": "a/0.png", "label": 0, "label_name": "good"}
)");
    write("test.json", R"({"filename": "b/1.png", "label": 1, "clsname": "bolt", "maskname": "b/1_mask.png"}

{"filename": "b/2.png", "label": 1, "clsname": "bolt", "maskname": null}
{"filename": "a/1.png", "label": 0, "label_name": "good", "clsname": ""}
)");
  }
  /// Appends a line, the fifth, to the test list.
  void says(const std::string& line, const std::string& what) {
    const std::string whole = folder + "/test.json", kept = folder + "/kept.json";
    fs::copy_file(whole, kept, fs::copy_options::overwrite_existing);
    std::ofstream(whole, std::ios::app) << line << "\n";
    EXPECT_EQ(message(), whole + ":5: " + what);
    fs::rename(kept, whole);
  }
};

TEST_F(JsonLines, ReadsUniADsLists) {
  const ImageSet set = load();
  EXPECT_EQ(set.class_names, (Names{"a", "bolt"}));  // a class that is not named is the first folder
  EXPECT_EQ(names_of(set.train), (Names{"b/0.png", "a/0.png"}));
  EXPECT_EQ(names_of(set.test), (Names{"b/1.png", "b/2.png", "a/1.png"}));
  EXPECT_EQ(set.train[0].class_index, 1);
  EXPECT_EQ(set.test[2].class_index, 0);
  EXPECT_TRUE(set.test[1].anomalous);
  EXPECT_FALSE(set.test[2].anomalous);
}

TEST_F(JsonLines, ADefectiveImageWithoutAMaskIsWhollyDefective) {
  write_image("b/1_mask.png", 0);
  const ImageSet set = load();
  EXPECT_EQ(set.mask(0).value().sum().item<int64_t>(), 0);
  EXPECT_EQ(set.mask(1).value().sum().item<int64_t>(), 8 * 12);
  EXPECT_EQ(set.mask(2).value().sum().item<int64_t>(), 0);
}

TEST_F(JsonLines, WithoutAnyMaskTheSetHasNone) {
  write("test.json", "{\"filename\": \"b/1.png\", \"label\": 1}\n{\"filename\": \"a/1.png\", \"label\": 0}\n");
  data.classes = {"a"};
  EXPECT_FALSE(load().mask);
}

TEST_F(JsonLines, TheListsMayHaveOtherNames) {
  fs::create_directories(folder + "/lists");
  fs::rename(folder + "/train.json", folder + "/lists/normal.txt");
  data.train_list = "lists/normal.txt";
  EXPECT_EQ(load().train.size(), 2u);
  data.train_list = "train.json";
  EXPECT_EQ(message(), "cannot read " + folder +
                           "/train.json: No such file or directory; data.path must be the folder that holds the "
                           "images, and the lists that data.train_list and data.test_list name");
}

TEST_F(JsonLines, NamesTheLineOfAMistake) {
  says("filename: b/1.png", "this is no JSON object");
  says("[1, 2]", "this is no JSON object");
  says(R"({"filename": "b/1.png"})", "label is missing; it must be 0 (normal) or 1 (defective)");
  says(R"({"filename": "b/1.png", "label": 2})", "label is 2; it must be 0 (normal) or 1 (defective)");
  says(R"({"filename": "b/1.png", "label": "bad"})", "label is \"bad\"; it must be 0 (normal) or 1 (defective)");
  says(R"({"filename": 7, "label": 0})", "filename is no text");
  says(R"({"label": 0})", "filename is missing");
  says(R"({"filename": "b/9.png", "clsname": "bolt", "label": 0})",
       "cannot read the image " + folder + "/b/9.png: No such file or directory");
  says(R"({"filename": "0.png", "label": 0})",
       "clsname is missing, and 0.png is in no folder that would name its class");
  says(R"({"filename": "b/0.png", "clsname": "bolt", "label": 1, "maskname": "b/9_mask.png"})",
       "cannot read the mask of b/0.png " + folder + "/b/9_mask.png: No such file or directory");
  write("train.json", R"({"filename": "b/0.png", "label": 1, "clsname": "bolt"})");
  EXPECT_EQ(message(), folder + "/train.json:1: label is 1, but training images must be normal");
}

}  // namespace
}  // namespace hivq
