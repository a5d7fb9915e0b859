#include "jobs/roots.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace hivq {
namespace {

namespace fs = std::filesystem;

Status check_data(const std::string& path, const Roots& roots, Links links = Links::as_named) {
  DataSpec data;
  data.path = path;
  return within_roots(data, {}, roots, links);
}

TEST(Roots, WithoutAnyEverythingMayBeRead) { EXPECT_TRUE(check_data("/etc", std::nullopt)); }

TEST(Roots, WithNoneOnlyWhatHivqBringsMayBeRead) {
  EXPECT_TRUE(check_data("", Roots(std::in_place)));
  const auto refused = check_data("/data", Roots(std::in_place));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("field data.path is '/data'"), std::string::npos);
  EXPECT_NE(refused.error().message.find("--data-root DIR"), std::string::npos);
}

TEST(Roots, PathsThatClimbOrOnlyBeginAlikeAreRefused) {
  const Roots roots = {{"/data/sets", "/mnt/more/"}};
  for (const char* inside : {"/data/sets", "/data/sets/mvtec", "/data/sets/", "/data/./sets/x/../y", "/mnt/more/x"}) {
    EXPECT_TRUE(check_data(inside, roots)) << inside;
  }
  for (const char* outside : {"/data/sets/../secret", "/data/sets2", "/data", "/", "/etc/passwd", "data/sets",
                              "../data/sets", "/data/sets/../../data/sets/../x", "/mnt/mor"}) {
    EXPECT_FALSE(check_data(outside, roots)) << outside;
  }
}

TEST(Roots, WeightsAndListsAreLookedAtToo) {
  const Roots roots = {{"/data"}};
  DataSpec data;
  BackboneSpec backbone;
  backbone.weights = "/root/.ssh/id_rsa";
  EXPECT_NE(within_roots(data, backbone, roots, Links::as_named).error().message.find("backbone.weights"),
            std::string::npos);
  for (const char* list : {"../train.json", "/etc/passwd", "a/../../b"}) {
    data.train_list = list;
    EXPECT_NE(within_roots(data, {}, roots, Links::as_named).error().message.find("data.train_list"), std::string::npos)
        << list;
  }
  data.train_list = "lists/train.json";
  EXPECT_TRUE(within_roots(data, {}, roots, Links::as_named));
}

TEST(Roots, ALinkCountsAsWhatItLeadsTo) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("hivq_roots_{}", getpid());
  fs::create_directories(folder / "allowed");
  fs::create_directories(folder / "secret");
  fs::create_directory_symlink(folder / "secret", folder / "allowed" / "link");
  fs::create_directory_symlink(folder / "allowed", folder / "alias");
  const Roots roots = {{(folder / "allowed").string()}};
  EXPECT_TRUE(check_data((folder / "allowed" / "link").string(), roots, Links::as_named));
  EXPECT_FALSE(check_data((folder / "allowed" / "link").string(), roots, Links::followed));
  EXPECT_FALSE(check_data((folder / "allowed" / "link" / "x").string(), roots, Links::followed));
  EXPECT_TRUE(check_data((folder / "alias").string(), roots, Links::followed));
  EXPECT_TRUE(check_data((folder / "allowed" / "not-there-yet").string(), roots, Links::followed));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace hivq
