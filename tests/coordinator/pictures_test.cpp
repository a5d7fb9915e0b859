// Pictures and figures of trials: in the core, in the store, and asked for.

#include <unistd.h>

#include <filesystem>

#include "coordinator/queries.h"
#include "coordinator/store.h"
#include "tests/common/png_bytes.h"
#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

const std::string kImage = png_bytes(4, 4, false, "an image"), kTruth = png_bytes(4, 4, true, "a mask"),
                  kMap = png_bytes(4, 4, true, "a map");

PictureItem picture(uint64_t number = 0) {
  return {number, 630, "crack/001.png", "brick", true, 2.5, kImage, kTruth, kMap, 0.5, 4};
}

class Pictures : public CoreTest {
 protected:
  void begin() {
    submit(2);
    join("g1");
  }
  PictureView row(const TrialId& id, uint64_t number = 0) {
    return store_.row<PictureView>(Family::pictures, picture_key(id, PictureKey::picture, number));
  }
  /// The bytes under a key of the family; empty: none.
  std::string stored(const std::string& key) { return store_.get(Family::pictures, key).value().value_or(""); }
  std::string refusal_of(const PictureItem& item) {
    const Lease lease = lease_of("g1");
    report("g1", lease, 1, {item});
    auto refused = sent<Refused>("g1");
    EXPECT_EQ(refused.size(), 1u);
    EXPECT_TRUE(store_.rows(Family::pictures).empty());
    EXPECT_EQ(acknowledged("g1"), 0u);
    beat("g1");
    return refused.empty() ? "" : refused[0].reason;
  }
};

TEST_F(Pictures, AreStoredBeforeTheyAreAcknowledged) {
  begin();
  report("g1", lease_of("g1"), 1, {picture(), metrics(630, 0.9)});
  EXPECT_EQ(acknowledged("g1"), 2u);
  const PictureView found = row({1, 0});
  EXPECT_EQ(found.name, "crack/001.png");
  EXPECT_EQ(found.class_name, "brick");
  EXPECT_TRUE(found.anomalous);
  EXPECT_EQ(found.score, 2.5);
  EXPECT_EQ(found.map_high, 4);
  EXPECT_EQ(found.width, 4u);
  EXPECT_EQ(stored(shared_picture_key(1, found.image)), kImage);
  EXPECT_EQ(stored(shared_picture_key(1, found.truth)), kTruth);
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::map, 0)), kMap);
}

TEST_F(Pictures, TrialsOfAJobShareTheirImages) {
  begin();
  PictureItem item = picture();
  report("g1", lease_of("g1"), 1, {item, EndItem{}});
  item.map = png_bytes(4, 4, true, "another map");
  report("g1", lease_of("g1"), 1, {item, EndItem{}});
  EXPECT_EQ(store_.rows(Family::pictures).size(), 2u * 2 + 2) << "a row and a map of each, the image and its mask once";
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::map, 0)), kMap);
  EXPECT_EQ(stored(picture_key({1, 1}, PictureKey::map, 0)), item.map);
}

TEST_F(Pictures, OfALaterAttemptTakeTheOldOnesPlace) {
  begin();
  report("g1", lease_of("g1"), 1, {picture(0), picture(1)});
  from("g1", Goodbye{"g1", "it goes"});
  join("g2");
  PictureItem again = picture(1);
  again.name = "crack/007.png", again.truth.clear(), again.map = png_bytes(4, 4, true, "another map");
  report("g2", lease_of("g2"), 1, {again});
  EXPECT_EQ(acknowledged("g2"), 1u);
  EXPECT_EQ(row({1, 0}, 0).name, "crack/001.png");
  EXPECT_EQ(row({1, 0}, 1).name, "crack/007.png");
  EXPECT_EQ(row({1, 0}, 1).truth, "");
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::map, 1)), again.map);
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::map, 0)), kMap);
}

TEST_F(Pictures, ThatAreNotWhatTheySayEndTheLeaseWithAReason) {
  submit_yaml(yaml(40, 0, 1));
  join("g1");
  const auto wrong = [&](auto&& change) {
    PictureItem item = picture();
    change(item);
    return refusal_of(item);
  };
  EXPECT_EQ(wrong([](auto& p) { p.number = 64; }), "a picture of the number 64; a trial has 64 at most");
  EXPECT_EQ(wrong([](auto& p) { p.step = -1; }), "a picture of the step -1");
  EXPECT_EQ(wrong([](auto& p) { p.score = NAN; }), "a picture whose score or map is not finite");
  EXPECT_EQ(wrong([](auto& p) { p.map_low = -INFINITY; }), "a picture whose score or map is not finite");
  EXPECT_EQ(wrong([](auto& p) { p.name = ""; }), "a picture's name has 0 bytes; it must have 1 to 300, none of them 0");
  EXPECT_NE(wrong([](auto& p) { p.class_name = std::string(301, 'x'); }).find("class has 301 bytes"),
            std::string::npos);
  EXPECT_NE(wrong([](auto& p) { p.name = std::string("a\0b", 3); }).find("none of them 0"), std::string::npos);
  EXPECT_EQ(wrong([](auto& p) { p.image = "<svg/>"; }), "a picture's image is no PNG");
  EXPECT_EQ(wrong([](auto& p) { p.map = ""; }), "a picture's map is no PNG");
  EXPECT_NE(wrong([](auto& p) { p.image += std::string(most_picture_bytes, 'x'); }).find("; the most is 262144"),
            std::string::npos);
  EXPECT_NE(wrong([](auto& p) { p.image = png_bytes(257, 4, false, ""); }).find("257 × 4 pixels"), std::string::npos);
  EXPECT_EQ(wrong([](auto& p) { p.map = png_bytes(4, 5, true, ""); }),
            "a picture's map is not grey or not of its image's size");
  EXPECT_EQ(wrong([](auto& p) { p.truth = png_bytes(4, 4, false, ""); }),
            "a picture's ground truth is not grey or not of its image's size");
}

TEST_F(Pictures, AFigureIsAttachedToATrialThatRunsAndToOneThatHasEnded) {
  begin();
  std::vector<Item> items = checkpoint(10, {"weights"});
  report("g1", lease_of("g1"), 1, items);
  from("client", AttachFigure{{1, 0}, 2, kImage}, 4);
  ASSERT_EQ(sent<FigureAttached>("client").size(), 1u);
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::figure_png, 2)), kImage);
  from("client", Cancel{1}, 5);
  EXPECT_EQ(core_->open_job(1), nullptr);
  restart();
  from("client", AttachFigure{{1, 0}, 2, kMap}, 6);
  EXPECT_EQ(sent<FigureAttached>("client").size(), 1u);
  EXPECT_EQ(stored(picture_key({1, 0}, PictureKey::figure_png, 2)), kMap) << "it takes the old one's place";
  const auto found = store_.row<FigureView>(Family::pictures, picture_key({1, 0}, PictureKey::figure, 2));
  EXPECT_EQ(found.at, now_);
  EXPECT_EQ(found.hash, sha256_hex(kMap));
}

TEST_F(Pictures, AFigureThatCannotBeKeptIsRefusedWithAReason) {
  begin();
  report("g1", lease_of("g1"), 1, checkpoint(10, {"weights"}));
  const auto refused = [&](const TrialId& trial, uint64_t figure, std::string png) {
    from("client", AttachFigure{trial, figure, std::move(png)}, 4);
    auto answers = sent<Failed>("client");
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? "" : answers[0].reason;
  };
  EXPECT_EQ(refused({1, 0}, 0, kImage), "there is no figure 0; they are numbered 1 to 8");
  EXPECT_EQ(refused({1, 0}, 9, kImage), "there is no figure 9; they are numbered 1 to 8");
  EXPECT_EQ(refused({1, 0}, 1, "a page"), "figure 1 is no PNG");
  EXPECT_NE(refused({1, 0}, 1, kImage + std::string(most_figure_bytes, 'x')).find("the most is 4194304"),
            std::string::npos);
  EXPECT_EQ(refused({1, 1}, 1, kImage), "trial 1/1 has no checkpoint that a figure could be drawn of");
  EXPECT_EQ(refused({7, 0}, 1, kImage), "trial 7/0 has no checkpoint that a figure could be drawn of");
  EXPECT_TRUE(store_.rows(Family::pictures).empty());
}

/// With a real store.
class StoredPictures : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_pictures_" + std::to_string(getpid());
  std::optional<Store> store_;
  std::unique_ptr<Core> core_;
  Lease lease_;

  void SetUp() override {
    std::filesystem::remove_all(folder_);
    open();
    from("client", Submit{"k", "t.yaml", "name: two\nsweep: {parameters: {train.seed: [3, 4]}}\n"});
    Hello hello;
    hello.gang = "g1";
    hello.ranks = 1;
    from("g1", hello);
    from("g1", Heartbeat{"g1", {}});
  }
  void TearDown() override {
    core_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void open() {
    core_.reset();
    store_.reset();
    store_ = std::move(Store::open(folder_).value());
    Effects effects;
    core_ = std::make_unique<Core>(
        CoreOptions{}, store_->snapshot().value(), [this](const TrialId& id) { return read_checkpoints(*store_, id); },
        1000, effects);
    ASSERT_TRUE(store_->commit(effects.writes));
  }
  void from(const std::string& peer, Body body) {
    Effects effects;
    core_->step(Received{peer, {1, std::move(body)}}, 2000, effects);
    ASSERT_TRUE(store_->commit(effects.writes));
    for (const auto& send : effects.sends) {
      if (auto* assign = std::get_if<Assign>(&send.message.body)) lease_ = assign->parts.at(0).lease;
    }
  }
  void report(uint64_t first, const std::vector<Item>& items) {
    Report report{"g1", lease_, first, {}};
    for (const auto& item : items) report.items.push_back(pack_item(item));
    from("g1", report);
  }
  template <typename T>
  T ask(const Body& question) {
    EXPECT_TRUE(is_query(question));
    Body body = answer(question, *store_, *core_);
    if (auto* failed = std::get_if<Failed>(&body)) ADD_FAILURE() << failed->reason;
    return std::get<T>(body);
  }
  std::string failure(const Body& question) { return std::get<Failed>(answer(question, *store_, *core_)).reason; }
};

TEST_F(StoredPictures, AreListedInTheirOrderAndGivenOneByOneAcrossAReopen) {
  PictureItem plain = picture(1);
  plain.anomalous = false, plain.truth.clear(), plain.name = "good/003.png";
  report(1, {plain, picture(0), ChunkItem{sha256_hex("w"), "w"}, CheckpointItem{10, 1, {sha256_hex("w")}}});
  from("client", AttachFigure{{1, 0}, 2, kImage});
  open();
  const auto list = ask<PictureList>(ListPictures{{1, 0}});
  ASSERT_EQ(list.pictures.size(), 2u);
  EXPECT_EQ(list.pictures[0].name, "crack/001.png");
  EXPECT_EQ(list.pictures[1].name, "good/003.png");
  EXPECT_EQ(list.pictures[1].truth, "");
  ASSERT_EQ(list.figures.size(), 1u);
  EXPECT_EQ(list.figures[0].figure, 2u);
  EXPECT_EQ(ask<Picture>(FetchPicture{{1, 0}, 0, "image"}).png, kImage);
  EXPECT_EQ(ask<Picture>(FetchPicture{{1, 0}, 0, "truth"}).png, kTruth);
  EXPECT_EQ(ask<Picture>(FetchPicture{{1, 0}, 1, "map"}).png, kMap);
  EXPECT_EQ(ask<Picture>(FetchPicture{{1, 0}, 1, "map"}).hash, list.pictures[1].map);
  EXPECT_EQ(ask<Picture>(FetchPicture{{1, 0}, 2, "figure"}).png, kImage);
  EXPECT_TRUE(ask<PictureList>(ListPictures{{1, 1}}).pictures.empty());
  EXPECT_EQ(failure(ListPictures{{1, 2}}), "there is no trial 1/2; `hivq show 1` shows the trials of a job");
  EXPECT_EQ(failure(FetchPicture{{1, 0}, 2, "image"}), "there is no picture 2 of trial 1/0");
  EXPECT_EQ(failure(FetchPicture{{1, 0}, 1, "figure"}), "there is no figure 1 of trial 1/0");
  EXPECT_EQ(failure(FetchPicture{{1, 0}, 1, "truth"}), "there is no ground truth of picture 1 of trial 1/0");
  EXPECT_NE(failure(FetchPicture{{1, 0}, 1, "thumb"}).find("no part 'thumb'"), std::string::npos);
}

TEST_F(StoredPictures, ThatAreDamagedAreNotShown) {
  report(1, {picture()});
  const Write damage{Family::pictures, picture_key({1, 0}, PictureKey::map, 0), "something else"};
  ASSERT_TRUE(store_->commit({&damage, 1}));
  EXPECT_EQ(failure(FetchPicture{{1, 0}, 0, "map"}), "the map 0 of trial 1/0 is damaged on disk");
}

TEST_F(StoredPictures, WhatIsWrittenOnceStaysAsItWas) {
  const Write writes[] = {{Family::pictures, "a key", "first", false, true},
                          {Family::pictures, "a key", "second", false, true}};
  ASSERT_TRUE(store_->commit({&writes[0], 1}));
  ASSERT_TRUE(store_->commit({&writes[1], 1}));
  EXPECT_EQ(store_->get(Family::pictures, "a key").value(), "first");
}

}  // namespace
}  // namespace hivq
