// What hivq init makes of folders of images.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "jobs/init/proposal.h"
#include "jobs/spec.h"

namespace hivq::init {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A survey of files of 64 × 48 pixels, all of which can be used.
struct Files {
  Survey survey;
  Files& add(const std::string& file, int64_t width = 64, int64_t height = 48, const std::string& problem = "") {
    survey.images.push_back({file, width, height, problem});
    ++survey.decoded;
    return *this;
  }
  /// `a/#.png` with 0 to n − 1 for the #.
  Files& add(int n, const std::string& pattern) {
    for (int i = 0; i < n; ++i) {
      std::string file = pattern;
      file.replace(file.find('#'), 1, fmt::format("{:03}", i));
      add(file);
    }
    return *this;
  }
};

Files mvtec_like() {
  Files files;
  for (const std::string name : {"bottle", "screw"}) {
    files.add(20, name + "/train/good/#.png").add(4, name + "/test/good/#.png").add(3, name + "/test/crack/#.png");
    files.add(3, name + "/ground_truth/crack/#_mask.png");
  }
  return files;
}

Dataset read(const Files& files, const std::string& folder = "/data/set") {
  auto dataset = read_layout(folder, files.survey);
  EXPECT_TRUE(dataset) << (dataset ? "" : dataset.error().message);
  return dataset ? *dataset : Dataset{};
}
std::string refusal(const Files& files) {
  const auto dataset = read_layout("/data/set", files.survey);
  return dataset ? "read as " + dataset->layout : dataset.error().message;
}
/// `bottle 20 4 3 3`: trained, good, defective, masks.
std::vector<std::string> counts(const Dataset& dataset) {
  std::vector<std::string> lines;
  for (const ClassCount& each : count_classes(dataset)) {
    lines.push_back(
        fmt::format("{} {} {} {} {}", each.name, each.train, each.test_good, each.test_defective, each.masks));
  }
  return lines;
}
std::string notes(const Dataset& dataset) {
  std::string text;
  for (const std::string& note : dataset.notes) text += note + "\n";
  return text;
}
using Lines = std::vector<std::string>;

const Machine two_cores{2, 0, {"efficientnet-lite0.pth"}};

// ---- Layouts ----

TEST(InitLayout, MvtecsFoldersAreTakenAsTheyAre) {
  const Dataset set = read(mvtec_like());
  EXPECT_FALSE(set.lists);
  EXPECT_TRUE(set.has_masks);
  EXPECT_EQ(set.path, "/data/set");
  EXPECT_EQ(counts(set), (Lines{"bottle 20 4 3 3", "screw 20 4 3 3"}));
  EXPECT_EQ(notes(set), "");
}

TEST(InitLayout, AFolderThatIsOneClassIsReadFromTheFolderAbove) {
  Files files;
  files.add(20, "train/good/#.png").add(4, "test/good/#.png").add(3, "test/crack/#.png");
  files.add(3, "ground_truth/crack/#_mask.png");
  const Dataset set = read(files, "/data/screw");
  EXPECT_FALSE(set.lists);
  EXPECT_EQ(set.path, "/data");
  EXPECT_EQ(set.classes, Lines{"screw"});
  EXPECT_EQ(counts(set), Lines{"screw 20 4 3 3"});
  EXPECT_EQ(set.train[0].file, "screw/train/good/000.png");
}

TEST(InitLayout, WithoutATestOneInFiveGoodImagesIsSetAside) {
  Files files;
  files.add(20, "bolt/good/#.png").add(3, "bolt/scratch/#.png").add(10, "nut/ok/#.png").add(2, "nut/bent/#.png");
  files.add(3, "bolt/masks/scratch/#.png").add(2, "nut/masks/bent/#.png");
  const Dataset set = read(files);
  EXPECT_TRUE(set.lists);
  EXPECT_TRUE(set.has_masks);
  EXPECT_EQ(counts(set), (Lines{"bolt 16 4 3 3", "nut 8 2 2 2"}));
  EXPECT_EQ(set.test.front().class_name, "bolt");
  for (const Example& example : set.train) EXPECT_FALSE(example.defective);
}

TEST(InitLayout, AFlatFolderIsOneClassOfGoodImagesAndSaysWhatIsMissing) {
  const Dataset set = read(Files().add(25, "#.png"), "/data/screw");
  EXPECT_TRUE(set.lists);
  EXPECT_EQ(counts(set), Lines{"screw 20 5 0 0"});
  EXPECT_TRUE(contains(notes(set), "no AUROC")) << notes(set);
}

TEST(InitLayout, OneClassWithKindsOfDefects) {
  EXPECT_EQ(counts(read(Files().add(20, "good/#.png").add(4, "hole/#.png").add(2, "stain/#.png"), "/data/felt")),
            Lines{"felt 16 4 6 0"});
  EXPECT_EQ(counts(read(Files().add(20, "#.jpg").add(4, "defects/#.jpg"), "/data/felt")), Lines{"felt 16 4 4 0"});
  EXPECT_EQ(counts(read(Files().add(20, "felt/#.jpg").add(4, "anomalies/#.jpg"))), Lines{"felt 16 4 4 0"});
}

TEST(InitLayout, FlatFoldersOfClassesAndTheirDefects) {
  EXPECT_EQ(counts(read(Files().add(10, "a/#.png").add(15, "b/#.png"))), (Lines{"a 8 2 0 0", "b 12 3 0 0"}));
  const Files told = Files().add(10, "a/#.png").add(15, "b/#.png").add(2, "defects/a/#.png").add(1, "defects/b/#.png");
  EXPECT_EQ(counts(read(told)), (Lines{"a 8 2 2 0", "b 12 3 1 0"}));
  const std::string untold = refusal(Files().add(10, "a/#.png").add(15, "b/#.png").add(2, "defects/#.png"));
  EXPECT_TRUE(contains(untold, "of which class? Put them into CLASS/defects/")) << untold;
  EXPECT_TRUE(contains(untold, "CLASS/train/good/*.png")) << untold;
}

TEST(InitLayout, TrainAndTestFirstAndThenTheClass) {
  Files files;
  files.add(10, "train/a/#.png").add(12, "train/b/#.png").add(2, "test/a/good/#.png").add(3, "test/a/cut/#.png");
  files.add(2, "test/b/good/#.png").add(1, "test/b/cut/#.png");
  EXPECT_EQ(counts(read(files)), (Lines{"a 10 2 3 0", "b 12 2 1 0"}));
}

TEST(InitLayout, AMvtecFolderWithoutGoodTestImagesGetsSomeOfTheTrainingOnes) {
  const Dataset set = read(Files().add(20, "a/train/good/#.png").add(3, "a/test/cut/#.png"));
  EXPECT_TRUE(set.lists);
  EXPECT_EQ(counts(set), Lines{"a 16 4 3 0"});
}

TEST(InitLayout, AClassWithoutTrainingImagesIsLeftOutAndNamed) {
  Files files = mvtec_like();
  files.add(3, "pill/test/good/#.png").add(3, "pill/test/crack/#.png").add(3, "pill/ground_truth/crack/#_mask.png");
  const Dataset set = read(files);
  EXPECT_EQ(counts(set).size(), 2u);
  EXPECT_FALSE(set.lists);
  EXPECT_EQ(set.classes, (Lines{"bottle", "screw"}));
  EXPECT_TRUE(contains(notes(set), "class pill has no good images")) << notes(set);
}

TEST(InitLayout, AFewMissingMasksCostTheirImagesAndManyCostTheMasks) {
  Files few = mvtec_like();
  few.add("screw/test/dent/000.png");
  const Dataset some = read(few);
  EXPECT_TRUE(some.has_masks);
  EXPECT_TRUE(some.lists) << "the loader of the folders would look for the missing mask";
  EXPECT_EQ(counts(some), (Lines{"bottle 20 4 3 3", "screw 20 4 3 3"}));
  EXPECT_TRUE(contains(notes(some), "without a mask, which are left out: screw/test/dent/000.png")) << notes(some);

  Files many = mvtec_like();
  many.add(20, "screw/test/dent/#.png");
  const Dataset none = read(many);
  EXPECT_FALSE(none.has_masks);
  EXPECT_TRUE(none.lists);
  EXPECT_EQ(counts(none), (Lines{"bottle 20 4 3 0", "screw 20 4 23 0"}));

  Files wrong = mvtec_like();
  wrong.survey.images.back().width = 1;  // of a mask
  EXPECT_TRUE(read(wrong).lists);
  EXPECT_TRUE(contains(notes(read(wrong)), "masks of another size than their image")) << notes(read(wrong));
}

TEST(InitLayout, DamagedImagesAreNamedWithTheirReasonUpToSome) {
  Files files = mvtec_like();
  for (int i = 0; i < 9; ++i) files.add(fmt::format("screw/train/good/x{}.png", i), 0, 0, "is damaged: it ends early");
  files.survey.other = {"notes.txt"};
  files.survey.decoded -= 3;
  const Dataset set = read(files);
  EXPECT_TRUE(set.damaged);
  EXPECT_TRUE(set.lists) << "the loader of the folders would meet them";
  const auto job = parse_job(to_yaml(set, *propose(set, two_cores), {"/a", "/b"}, "x"), "x.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.data.damaged, "skip");
  EXPECT_EQ(counts(set), (Lines{"bottle 20 4 3 3", "screw 20 4 3 3"}));
  EXPECT_TRUE(contains(notes(set), "screw/train/good/x0.png is damaged: it ends early\n")) << notes(set);
  EXPECT_TRUE(contains(notes(set), "4 more images cannot be used\n")) << notes(set);
  EXPECT_TRUE(contains(notes(set), "1 file is no image by name: notes.txt\n")) << notes(set);
  EXPECT_TRUE(contains(notes(set), "were decoded to their end")) << notes(set);
}

TEST(InitLayout, WhatCannotBeUsedSaysHowToArrangeTheFolders) {
  EXPECT_TRUE(contains(refusal(Files()), "holds no image that can be used"));
  EXPECT_TRUE(contains(refusal(Files()), "CLASS/train/good/*.png"));
  EXPECT_TRUE(contains(refusal(Files().add("a.png", 0, 0, "is empty")), "a.png is empty"));
  EXPECT_TRUE(contains(refusal(Files().add(3, "test/crack/#.png")), "known to be good"));
  EXPECT_TRUE(contains(refusal(Files().add(3, "masks/#.png")), "no image that can be used"));
  EXPECT_TRUE(contains(notes(read(mvtec_like().add("stray.png"))), "outside of the folders that were understood"));
}

// ---- Proposals ----

Proposal proposed(const Dataset& set, const Machine& machine = two_cores) {
  const auto proposal = propose(set, machine);
  EXPECT_TRUE(proposal) << (proposal ? "" : proposal.error().message);
  return proposal ? *proposal : Proposal{};
}

TEST(InitProposal, TheImageSizeFollowsTheImagesUpToThePapers) {
  const auto of_side = [](int64_t side) {
    Files files;
    for (int i = 0; i < 20; ++i) files.add(fmt::format("good/{}.png", i), side, 2 * side);
    return proposed(read(files)).image_size;
  };
  EXPECT_EQ(of_side(20), 64);
  EXPECT_EQ(of_side(100), 112);
  EXPECT_EQ(of_side(128), 128);
  EXPECT_EQ(of_side(3000), 224);
}

TEST(InitProposal, ManyImagesAreTrainedForFewerEpochsAndAGpuForMore) {
  const auto of_count = [](int count, const Machine& machine) {
    return proposed(read(Files().add(count, "good/#.png")), machine).epochs;
  };
  EXPECT_EQ(of_count(20, two_cores), 60);
  EXPECT_EQ(of_count(375, two_cores), 20);
  EXPECT_EQ(of_count(4000, two_cores), 4);
  EXPECT_GT(of_count(4000, {16, 1, two_cores.weights}), 4);
}

TEST(InitProposal, TheBackboneIsOneWhoseWeightsAreThere) {
  const Dataset set = read(mvtec_like());
  EXPECT_EQ(proposed(set).backbone, "efficientnet-lite0");
  const std::vector<std::string> both = {"efficientnet-b4.pth", "efficientnet-lite0.pth", "readme.txt"};
  EXPECT_EQ(proposed(set, {2, 0, both}).backbone, "efficientnet-lite0");
  EXPECT_EQ(proposed(set, {2, 2, both}).backbone, "efficientnet-b4");
  EXPECT_EQ(proposed(set, {2, 0, {"efficientnet-b3.safetensors"}}).backbone, "efficientnet-b3");
  const auto none = propose(set, {2, 0, {"readme.txt"}});
  ASSERT_FALSE(none);
  EXPECT_TRUE(contains(none.error().message, "make setup")) << none.error().message;
}

TEST(InitProposal, WhatIsWrittenIsAValidSpecificationOfJustThisSet) {
  const ListFiles lists{"/out/set.train.json", "/out/set.test.json"};
  std::vector<std::pair<Dataset, Machine>> cases;
  for (const uint64_t gpus : {0, 1, 8}) {
    const Machine machine{4, gpus, {"efficientnet-lite0.pth", "efficientnet-b4.pth"}};
    for (const Files& files :
         {mvtec_like(), Files().add(1, "#.png"), Files().add(30, "good/#.png").add(3, "bad/#.png")}) {
      cases.emplace_back(read(files, "/data/some set"), machine);
    }
  }
  for (const auto& [set, machine] : cases) {
    const Proposal proposal = proposed(set, machine);
    const std::string yaml = to_yaml(set, proposal, lists, "hivq run x.yaml");
    const auto job = parse_job(yaml, "x.yaml");
    ASSERT_TRUE(job) << job.error().message << "\n" << yaml;
    EXPECT_EQ(job->name, "some-set");
    EXPECT_EQ(job->trial.data.name, set.lists ? "json-lines" : "mvtec");
    EXPECT_EQ(job->trial.data.path, set.path);
    EXPECT_EQ(job->trial.data.classes, set.classes);
    EXPECT_EQ(job->trial.data.image_size, proposal.image_size);
    EXPECT_EQ(job->trial.train.epochs, proposal.epochs);
    EXPECT_EQ(job->trial.gang.ranks, proposal.ranks);
    EXPECT_EQ(job->trial.data.train_list, set.lists ? lists.train : DataSpec{}.train_list);
  }
}

TEST(InitProposal, NamesThatYamlAndJsonMustQuoteStayTheSame) {
  const std::string odd = "it's: \"ödd\" \\ #1";
  Files files = mvtec_like();
  files.add(10, "x/train/good/#.png").add(2, "x/test/good/#.png").add(2, "y/test/good/#.png");
  for (Image& image : files.survey.images) {
    if (image.file[0] == 'x') image.file.replace(0, 1, odd);
  }
  Dataset set = read(files, "/data/" + odd);
  ASSERT_EQ(set.classes, (Lines{"bottle", odd, "screw"}));
  const auto job = parse_job(to_yaml(set, proposed(set), {}, "x"), "x.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.data.classes, set.classes);
  EXPECT_EQ(job->trial.data.path, "/data/" + odd);
  const std::string list = list_of({{odd, odd + "/1.png", true, "m.png", 1, 1}, {"a", "b.png", false, "", 1, 1}});
  const auto first = nlohmann::json::parse(list.substr(0, list.find('\n')));
  EXPECT_EQ(first["clsname"], odd);
  EXPECT_EQ(first["label"], 1);
  EXPECT_EQ(first["maskname"], "m.png");
  EXPECT_FALSE(nlohmann::json::parse(list.substr(list.find('\n') + 1)).contains("maskname"));
}

TEST(InitProposal, DescribesClassesAndNotes) {
  const std::string text = describe(read(mvtec_like().add("stray.tif")));
  EXPECT_TRUE(contains(text, "bottle     20          4          3      3")) << text;
  EXPECT_TRUE(contains(text, "54 PNG, 64 x 48 pixels")) << text;
  EXPECT_TRUE(contains(text, "! outside of")) << text;
}

// ---- The survey ----

TEST(InitSurvey, IsReadFromItsLinesAmongOthers) {
  const auto survey = read_survey(
      "warning: something\n{\"other\":\"a.txt\"}\n{\"file\":\"b.png\",\"width\":3,\"height\":2}\n"
      "{\"file\":\"c.png\",\"width\":0,\"height\":0,\"problem\":\"is empty\"}\n"
      "{\"end\":true,\"decoded\":1,\"gpus\":2,\"weights\":[\"w.pth\"]}\n");
  ASSERT_TRUE(survey) << survey.error().message;
  ASSERT_EQ(survey->images.size(), 2u);
  EXPECT_EQ(survey->images[0].width, 3);
  EXPECT_EQ(survey->images[1].problem, "is empty");
  EXPECT_EQ(survey->other, Lines{"a.txt"});
  EXPECT_EQ(survey->gpus, 2u);
  EXPECT_FALSE(read_survey("{\"file\":\"b.png\"}\n")) << "it did not come to its end";
  EXPECT_FALSE(read_survey("{\"file\":7}\n{\"end\":true}\n"));
}

}  // namespace
}  // namespace hivq::init
