#include "jobs/cli/trial_metrics.h"

#include <gtest/gtest.h>

#include <sstream>

namespace hivq::cli {
namespace {

TEST(TrialMetrics, OfTheWholeAreATableOfUntrainedAndLast) {
  EXPECT_EQ(metrics_text({{"auroc", 0.5}}, {{"auroc", 0.75}, {"pro", 0.25}}, {}),
            "metric  untrained    last\n"
            "auroc      0.5000  0.7500\n"
            "pro             –  0.2500\n");
  EXPECT_EQ(metrics_text({}, {}, {}), "");
}

TEST(TrialMetrics, OfClassesAndOfLevelsAreATableEach) {
  EXPECT_EQ(metrics_text({{"auroc", 0.5}, {"auroc/bottle", 0.5}, {"auroc/cable", 0.5}},
                         {{"auroc", 0.8},
                          {"auroc/bottle", 0.9},
                          {"pixel_auroc/bottle", 0.95},
                          {"pixel_auroc/cable", 0.85},
                          {"codebook_live/0", 0.1},
                          {"codebook_live/10", 0.3},
                          {"codebook_live/2", 0.2}},
                         {}),
            "metric  untrained    last\n"
            "auroc      0.5000  0.8000\n"
            "\n"
            "of each  codebook_live\n"
            "0               0.1000\n"
            "2               0.2000\n"
            "10              0.3000\n"
            "\n"
            "of each   auroc  pixel_auroc\n"
            "bottle   0.9000       0.9500\n"
            "cable    0.5000       0.8500\n");
}

TEST(TrialMetrics, OfAConfusionAreAMatrixOfTrueAndToldClasses) {
  EXPECT_EQ(metrics_text({},
                         {{"confusion/bottle/bottle", 20},
                          {"confusion/bottle/cable", 2},
                          {"confusion/cable/cable", 17.5},
                          {"confusion/cable/screw", 1}},
                         {}),
            "true class \\ told  bottle    cable  screw\n"
            "bottle                 20        2      ·\n"
            "cable                   ·  17.5000      1\n"
            "screw                   ·        ·      ·\n");
}

TEST(TrialMetrics, OfTheUntrainedModelsConfusionNothingIsLeftInTheLast) {
  EXPECT_EQ(metrics_text({{"confusion/a/b", 9}}, {{"confusion/a/a", 9}}, {}),
            "true class \\ told  a\n"
            "a                  9\n");
}

TEST(TrialMetrics, OfManyClassesFitATerminal) {
  std::map<std::string, double> final;
  const std::vector<std::string> classes = {"bottle",   "cable",      "capsule",    "carpet", "grid",
                                            "hazelnut", "leather",    "metal_nut",  "pill",   "screw",
                                            "tile",     "toothbrush", "transistor", "wood",   "zipper"};
  for (const auto& name : classes) {
    for (const char* metric : {"auroc", "pixel_auroc", "pro", "error_normal", "error_anomalous"}) {
      final[std::string(metric) + "/" + name] = 0.5;
    }
    for (const auto& told : classes) final["confusion/" + name + "/" + told] = name == told ? 100 : 1;
  }
  const std::string text = metrics_text({}, final, {100, false});
  std::istringstream lines(text);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(display_width(line), 100u) << line;
  EXPECT_EQ(count, 2 * (classes.size() + 1) + 1) << text;
  EXPECT_EQ(text.find("left out"), std::string::npos) << text;
  EXPECT_NE(text.find("\n15 zipper"), std::string::npos) << text;
}

TEST(TrialMetrics, WithOddNamesAreShownAllTheSame) {
  for (const char* name : {"/", "a/", "/a", "confusion/", "confusion/a", "confusion/a/b/c", "a//b"}) {
    EXPECT_NE(metrics_text({}, {{name, 0.25}}, {}), "") << name;
  }
}

}  // namespace
}  // namespace hivq::cli
