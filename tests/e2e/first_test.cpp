// The first commands on a machine: hivq doctor, and hivq init on folders of images of several kinds.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/version.h"
#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct First : testing::Test {
  Workspace space;

  Workspace::Ended hivq(std::vector<std::string> command, int seconds = 120) {
    command.insert(command.begin(), program("hivq"));
    return space.run(command, seconds);
  }
  nlohmann::json init(const std::string& folder, const std::string& out) {
    const auto ended = hivq({"init", folder, "--out", out, "--json"});
    EXPECT_EQ(ended.code, 0) << ended.output;
    EXPECT_EQ(hivq({"validate", out}).code, 0);
    return nlohmann::json::parse(ended.output, nullptr, false);
  }
  /// Two classes of 64 × 64 pixels in MVTec-AD's layout.
  std::string textures() {
    const std::string folder = space.path("textures");
    const auto made =
        hivq({"make-textures", folder, "--crop", "64", "--train", "12", "--test-good", "4", "--test-per-defect", "1"});
    EXPECT_EQ(made.code, 0) << made.output;
    fs::remove_all(folder + "/gravel");
    return folder;
  }
  void copy(const std::string& from, const std::string& to) const {
    fs::create_directories(fs::path(to).parent_path());
    fs::copy(from, to, fs::copy_options::recursive);
  }
};

TEST_F(First, DoctorFindsTheProgramsTheRanksAndTheCoordinatorOfThisMachine) {
  Coordinator coordinator(space, space.path("data"));
  const auto ended = hivq({"doctor", "--data", space.path("data"), "--wait", "60", "--json"}, 240);
  const auto json = nlohmann::json::parse(ended.output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ended.output;
  std::map<std::string, nlohmann::json> checks;
  for (const auto& check : json["checks"]) checks[check["name"]] = check;
  for (const char* name : {"programs", "ranks", "weights", "coordinator", "clock", "dashboard"}) {
    ASSERT_TRUE(checks.contains(name)) << name << ended.output;
    EXPECT_EQ(checks[name]["verdict"], "ok") << checks[name].dump();
  }
  EXPECT_TRUE(contains(checks["programs"]["found"], version)) << checks["programs"].dump();
  EXPECT_TRUE(contains(checks["ranks"]["found"], "2 see each other and add up")) << checks["ranks"].dump();
  EXPECT_TRUE(contains(checks["weights"]["found"], "efficientnet-lite0")) << checks["weights"].dump();
  EXPECT_TRUE(contains(checks["coordinator"]["found"], coordinator.endpoint)) << checks["coordinator"].dump();
  EXPECT_TRUE(contains(checks["data"]["found"], "in use by its coordinator")) << checks["data"].dump();
  EXPECT_EQ(ended.code, json["ok"].get<bool>() ? 0 : 1);

  coordinator.kill_hard();
  const auto after = hivq({"doctor", "--data", space.path("data"), "--wait", "60"}, 240);
  EXPECT_TRUE(contains(after.output, "its coordinator has ended")) << after.output;
}

TEST_F(First, RanksOfWorkersSeeEachOther) {
  const auto ended = space.run({"mpirun", "-np", "3", "--oversubscribe", "--bind-to", "none", program("hivq-worker"),
                                "check", "--json", "--timeout", "60"},
                               120);
  ASSERT_EQ(ended.code, 0) << ended.output;
  const auto json = nlohmann::json::parse(ended.output.substr(ended.output.find('{')), nullptr, false);
  EXPECT_EQ(json["ranks"], 3) << ended.output;
  EXPECT_EQ(json["each"].size(), 3u);
  EXPECT_EQ(json["each"][2]["rank"], 2);
  EXPECT_GT(json["all_reduce"]["seconds"].get<double>(), 0);
}

TEST_F(First, InitUnderstandsFoldersInMvtecsLayoutAndOneClassOfThem) {
  const std::string folder = textures();
  const auto all = init(folder, space.path("all.yaml"));
  EXPECT_EQ(all["loader"], "mvtec");
  EXPECT_EQ(all["masks"], true);
  ASSERT_EQ(all["classes"].size(), 2u);
  EXPECT_EQ(all["classes"][0]["train"], 12);
  EXPECT_EQ(all["classes"][0]["masks"], all["classes"][0]["test_defective"]);
  EXPECT_TRUE(all["notes"].empty()) << all.dump();

  const auto one = init(folder + "/brick", space.path("one.yaml"));
  EXPECT_EQ(one["loader"], "mvtec");
  ASSERT_EQ(one["classes"].size(), 1u);
  EXPECT_EQ(one["classes"][0]["name"], "brick");
}

TEST_F(First, InitsSpecificationOfFlatFoldersWithADamagedImageTrainsAsWritten) {
  const std::string made = textures(), flat = space.path("parts");
  for (const std::string name : {"brick", "grass"}) {
    copy(made + "/" + name + "/train/good", flat + "/" + name + "/ok");
    copy(made + "/" + name + "/test/hole", flat + "/" + name + "/hole");
    copy(made + "/" + name + "/ground_truth/hole", flat + "/" + name + "/masks/hole");
  }
  const std::string whole = read_text(flat + "/brick/ok/000.png");
  space.write("parts/brick/ok/cut.png", whole.substr(0, whole.size() / 2));
  space.write("parts/brick/ok/empty.png", "");
  space.write("parts/readme.txt", "no image");
  const auto found = init(flat, space.path("parts.yaml"));
  EXPECT_EQ(found["loader"], "json-lines");
  EXPECT_EQ(found["masks"], true);
  const std::string notes = found["notes"].dump();
  EXPECT_TRUE(contains(notes, "brick/ok/cut.png is damaged")) << notes;
  EXPECT_TRUE(contains(notes, "brick/ok/empty.png is empty")) << notes;
  EXPECT_TRUE(contains(notes, "readme.txt")) << notes;
  EXPECT_EQ(found["classes"][0]["train"].get<int>() + found["classes"][0]["test_good"].get<int>(), 12);

  const auto ended = hivq({"run", space.path("parts.yaml"), "--data", space.path("data"), "--set", "train.epochs=1",
                           "--set", "train.lr_drop_epoch=0"},
                          300);
  ASSERT_EQ(ended.code, 0) << ended.output;
  const auto shown =
      nlohmann::json::parse(hivq({"show", "1/0", "--data", space.path("data"), "--json"}).output, nullptr, false);
  EXPECT_TRUE(shown["final"].contains("pixel_auroc/grass")) << shown.dump();
}

TEST_F(First, InitOfABrokenFolderSaysHowToArrangeIt) {
  fs::create_directories(space.path("broken/a"));
  space.write("broken/a/one.png", "no image");
  const auto ended = hivq({"init", space.path("broken"), "--out", space.path("x.yaml")});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, "holds no image that can be used")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "a/one.png is no PNG, JPEG, TIFF or BMP image")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "CLASS/train/good/*.png")) << ended.output;
  EXPECT_FALSE(fs::exists(space.path("x.yaml")));
}

}  // namespace
}  // namespace hivq::e2e
