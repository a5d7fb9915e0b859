#include <algorithm>

#include "tests/worker/data_fixture.h"
#include "worker/commands/commands.h"

namespace hivq {
namespace {

class TexturesCommand : public DataFolder {
 protected:
  int run(std::vector<const char*> arguments) const {
    arguments.insert(arguments.begin(), "textures");
    const auto all = subcommands();
    const auto textures =
        std::ranges::find_if(all, [](const Subcommand& c) { return c.name == std::string("textures"); });
    if (textures == all.end()) return -1;
    return run_subcommand(*textures, static_cast<int>(arguments.size()), arguments.data());
  }
};

TEST_F(TexturesCommand, MakesAsManyImagesAsItIsTold) {
  write("photos/felt.png", encode_png(at::arange(96 * 48).remainder(251).view({96, 48}).to(at::kByte)));
  const std::string photos = folder + "/photos", out = folder + "/out";
  EXPECT_EQ(run({"--photos", photos.c_str(), "--out", out.c_str(), "--crop", "40", "--train", "3", "--test-good", "2",
                 "--test-per-defect", "1"}),
            0);
  data.name = "mvtec";
  data.path = out;
  EXPECT_EQ(load().train.size(), 3u);
  EXPECT_EQ(load().test.size(), 2u + 4u);  // no patch: there is no other texture
  EXPECT_EQ(load().decode(0).value().size(0), 40);
}

TEST_F(TexturesCommand, TellsWrongUsageFromAnError) {
  const std::string out = folder + "/out";
  EXPECT_EQ(run({"--out", out.c_str()}), 2);
  EXPECT_EQ(run({"--photos", "/nowhere", "--out", out.c_str()}), 1);
}

}  // namespace
}  // namespace hivq
