#include "common/messages.h"

#include <gtest/gtest.h>

#include <set>

namespace hivq {
namespace {

template <typename T>
T round_trip(uint64_t id, const T& body) {
  auto message = decode(encode({id, body}));
  EXPECT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->id, id);
  return std::get<T>(message->body);
}

TEST(Messages, ArriveAsTheyWereSent) {
  auto report = round_trip(9, Report{"gang", {{3, 4}, 5}, 6, {"item", std::string("\0\xff", 2)}});
  EXPECT_EQ(report.lease, (Lease{{3, 4}, 5}));
  EXPECT_EQ(report.items, (std::vector<std::string>{"item", std::string("\0\xff", 2)}));
  auto assign = round_trip(0, Assign{{{{{1, 0}, 2}, "data:\n", {7, 8, {"h"}}, true}, {{{1, 1}, 2}, "", {}, false}}});
  ASSERT_EQ(assign.parts.size(), 2u);
  EXPECT_TRUE(assign.parts[0].warm);
  EXPECT_EQ(assign.parts[0].checkpoint.chunks, std::vector<std::string>{"h"});
  EXPECT_EQ(assign.parts[1].lease, (Lease{{1, 1}, 2}));
  TrialView view;
  view.params = {{"train.lr", "1e-3"}};
  view.final = {{"auroc", 0.75}};
  auto detail = round_trip(1, JobDetail{{}, "yaml", "waits", {view}});
  EXPECT_EQ(detail.trials.at(0).params, view.params);
  EXPECT_EQ(detail.trials.at(0).final, view.final);
}

TEST(Messages, PicturesArriveAsTheyWereSent) {
  const std::string bytes("\x89PNG\0\xff", 6);
  const PictureItem sent{3, 630, "crack/001.png", "brick", true, 2.5, bytes, "", bytes + "m", 0.5, 4};
  const auto item = std::get<PictureItem>(*unpack_item(pack_item(sent)));
  EXPECT_EQ(pack(item), pack(sent));
  EXPECT_EQ(item.image, bytes);
  EXPECT_EQ(item.map, bytes + "m");
  EXPECT_TRUE(item.truth.empty());
  EXPECT_EQ(round_trip(1, AttachFigure{{1, 2}, 2, bytes}).png, bytes);
  EXPECT_EQ(round_trip(1, FetchPicture{{1, 2}, 3, "map"}).part, "map");
}

template <typename Variant, size_t... I>
void check_all(std::index_sequence<I...>, std::set<std::string>& names) {
  auto one = [&]<typename T>(const T&) {
    EXPECT_TRUE(names.insert(T::type).second) << T::type << " is the name of two types";
    if constexpr (std::is_constructible_v<Body, T> && std::is_same_v<Variant, Body>) {
      auto message = decode(encode({1, T{}}));
      EXPECT_TRUE(message && std::holds_alternative<T>(message->body)) << T::type;
    } else {
      auto item = unpack_item(pack_item(T{}));
      EXPECT_TRUE(item && std::holds_alternative<T>(*item)) << T::type;
    }
  };
  (one(std::variant_alternative_t<I, Variant>{}), ...);
}

TEST(Messages, EveryTypeHasANameOfItsOwnAndIsReadAsItself) {
  std::set<std::string> bodies, items;
  check_all<Body>(std::make_index_sequence<std::variant_size_v<Body>>(), bodies);
  check_all<Item>(std::make_index_sequence<std::variant_size_v<Item>>(), items);
}

struct Envelope {
  int v = wire_version;
  std::string type;
  uint64_t id = 0;
  std::string body;
  HIVQ_FIELDS(v, type, id, body)
};

TEST(Messages, NeighbouringVersionsUnderstandEachOther) {
  std::string body = pack(Cancel{3});
  EXPECT_TRUE(decode(pack(Envelope{wire_version + 1, "cancel", 1, body})));
  for (int v = oldest_wire_version; v < wire_version; ++v) EXPECT_TRUE(decode(pack(Envelope{v, "cancel", 1, body})));
  auto newer = decode(pack(Envelope{wire_version + 2, "cancel", 1, body}));
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("upgrade the older"), std::string::npos) << newer.error().message;
  EXPECT_FALSE(decode(pack(Envelope{-5, "cancel", 1, body})));
}

TEST(Messages, AVersionThatKnewNoPacksIsToldSo) {
  auto older = decode(pack(Envelope{1, "heartbeat", 0, pack(Heartbeat{})}));
  ASSERT_FALSE(older);
  EXPECT_NE(older.error().message.find("upgrade the older"), std::string::npos) << older.error().message;
}

TEST(Messages, AnUnknownTypeIsNamed) {
  auto unknown = decode(pack(Envelope{wire_version, "teleport", 1, pack(Cancel{})}));
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("'teleport'"), std::string::npos) << unknown.error().message;
}

}  // namespace
}  // namespace hivq
