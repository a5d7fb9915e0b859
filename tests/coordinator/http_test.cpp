// The HTTP side of a real coordinator, asked as browsers and programs ask it.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "common/messages.h"
#include "common/process.h"
#include "common/sha256.h"
#include "coordinator/http/reply.h"
#include "coordinator/server.h"
#include "jobs/client.h"
#include "tests/common/png_bytes.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

constexpr const char* kSpec = "name: ducks\nsweep: {parameters: {train.lr: [1.0e-3, 1.0e-2], train.seed: [1, 2]}}\n";
constexpr const char* kYaml = "application/yaml";

class Http : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    options_.data = folder_ + "/data";
    options_.listen = "tcp://127.0.0.1:0";
    options_.reserve_bytes = 0;
    start();
  }
  void TearDown() override {
    stop();
    fs::remove_all(folder_);
  }
  void start() {
    stop_ = false;
    thread_ = std::thread([this] { ended_ = serve(options_, stop_, log_); });
    for (int i = 0; i < 1000 && !running_endpoint(options_.data); ++i) std::this_thread::sleep_for(10ms);
    std::ifstream file(options_.data + "/coordinator.json");
    address_ = json::parse(file).at("http");
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    EXPECT_TRUE(ended_);
    fs::remove(options_.data + "/coordinator.json");
  }

  static httplib::Result checked(httplib::Result result) {
    EXPECT_TRUE(result) << httplib::to_string(result.error());
    return result;
  }
  httplib::Result get(const std::string& path, const httplib::Headers& headers = {}) {
    return checked(httplib::Client(address_).Get("/api/v1" + path, headers));
  }
  httplib::Result post(const std::string& path, const std::string& body = "", const char* type = kYaml,
                       const httplib::Headers& headers = {}) {
    return checked(httplib::Client(address_).Post("/api/v1" + path, headers, body, type));
  }
  json got(const std::string& path) {
    const auto result = get(path);
    EXPECT_EQ(result->status, 200) << path << ": " << result->body;
    return json::parse(result->body);
  }
  /// The detail of a problem with this status.
  static std::string problem_of(const httplib::Result& result, int status) {
    EXPECT_EQ(result->status, status) << result->body;
    EXPECT_EQ(result->get_header_value("Content-Type"), "application/problem+json");
    const json problem = json::parse(result->body);
    EXPECT_EQ(problem.at("status"), status);
    return problem.at("detail");
  }

  /// What is answered until the server closes; nothing where the connection is open yet after five seconds, half of
  /// what a request may take. Where the server has not read everything, the system may drop the answer.
  std::optional<std::string> answer_to(const std::string& bytes) const {
    const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1))));
    EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    const timeval patience{5, 0};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t count = send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) break;
      sent += static_cast<size_t>(count);
    }
    std::string answer, buffer(1 << 16, '\0');
    ssize_t count = 0;
    while ((count = recv(connection, buffer.data(), buffer.size(), 0)) > 0) answer.append(buffer, 0, count);
    const bool open = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    close(connection);
    return open ? std::nullopt : std::optional(answer);
  }
  /// Whether an event comes that has this text.
  bool is_told(const std::string& text) {
    for (int i = 0; i < 100; ++i) {
      const auto events = post("/query", R"({"sql": "SELECT text FROM events"})", "application/json");
      if (events->body.find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(100ms);
    }
    return false;
  }

  /// A gang that trains the first trial to its end; `shown`: pictures of it.
  void train_first(const std::string& bytes, const std::vector<PictureItem>& shown = {}) {
    const std::string endpoint = running_endpoint(options_.data).value(), id = "00000000000000aa";
    auto dealer = std::move(Dealer::connect(endpoint, id).value());
    dealer.send(encode({0, Hello{id, "box", "1 CPU rank", "", "test", 1, 7, 0}}));
    std::optional<Assign> assign;
    for (int i = 0; i < 500 && !assign; ++i) {
      dealer.send(encode({0, Heartbeat{id, {}}}));
      while (auto received = dealer.receive(20ms)) {
        auto message = decode(*received);
        if (auto* found = std::get_if<Assign>(&message->body)) assign = *found;
      }
    }
    ASSERT_TRUE(assign);
    const Lease lease = assign->parts.at(0).lease;
    std::vector<std::string> hashes,
        items = {pack_item(MetricsItem{0, {{"auroc", 0.5}}}),
                 pack_item(MetricsItem{1, {{"loss", 2.5}, {"a,\"b", NAN}}}), pack_item(MetricsItem{2, {{"loss", 2.0}}}),
                 pack_item(LogItem{"hello <b>"})};
    for (size_t at = 0; at < bytes.size(); at += chunk_bytes) {
      const std::string chunk = bytes.substr(at, chunk_bytes);
      hashes.push_back(sha256_hex(chunk));
      items.push_back(pack_item(ChunkItem{hashes.back(), chunk}));
    }
    items.push_back(pack_item(CheckpointItem{1, bytes.size(), hashes}));
    for (const PictureItem& picture : shown) items.push_back(pack_item(picture));
    items.push_back(pack_item(EndItem{false, "", {{"auroc", 0.75}}}));
    bool acknowledged = false;
    for (int i = 0; i < 100 && !acknowledged; ++i) {
      dealer.send(encode({0, Report{id, lease, 1, items}}));
      while (auto received = dealer.receive(50ms)) {
        auto message = decode(*received);
        auto* ack = std::get_if<Ack>(&message->body);
        acknowledged = acknowledged || (ack != nullptr && ack->last == items.size());
      }
    }
    ASSERT_TRUE(acknowledged);
  }

  std::string folder_ = fs::temp_directory_path().string() + "/hivq_http_" + std::to_string(getpid());
  ServerOptions options_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  Status ended_;
  Log log_{"coordinator", Level::warning};
  std::string address_;
};

TEST_F(Http, AJobIsSubmittedOnceHoweverOftenItIsSent) {
  EXPECT_EQ(got("/jobs"), (json{{"jobs", json::array()}, {"total", 0}}));
  for (int i = 0; i < 2; ++i) {
    const auto sent = post("/jobs?key=k1&user=ada", kSpec);
    EXPECT_EQ(sent->status, 201);
    EXPECT_EQ(json::parse(sent->body), (json{{"job", 1}}));
  }
  EXPECT_EQ(post("/jobs", kSpec)->status, 201);
  const json jobs = got("/jobs");
  EXPECT_EQ(jobs.at("total"), 2);
  EXPECT_EQ(jobs.at("jobs").at(0).at("job"), 2) << "the newest first";
  EXPECT_EQ(got("/jobs?user=ada").at("jobs").at(0).at("job"), 1);
  EXPECT_EQ(got("/jobs?name=duc&state=waiting&limit=1&offset=1").at("jobs").size(), 1u);
  EXPECT_EQ(got("/jobs?name=geese").at("total"), 0);
  EXPECT_EQ(got("/jobs/1").at("name"), "ducks");
  EXPECT_EQ(got("/jobs/1").at("user"), "ada");
  EXPECT_NE(got("/jobs/1/explain").at("explanation"), "");
}

TEST_F(Http, AMistakeNamesItsLine) {
  const std::string wrong = "name: x\ntrain:\n  lr: fast\n  epochz: 3\n";
  const auto sent = post("/jobs?file=x.yaml", wrong);
  EXPECT_NE(problem_of(sent, 422).find("x.yaml:3: train.lr is fast"), std::string::npos);
  const json mistakes = json::parse(sent->body).at("mistakes");
  ASSERT_EQ(mistakes.size(), 2u);
  EXPECT_EQ(mistakes[0].at("line"), 3);
  EXPECT_EQ(mistakes[1].at("line"), 4);
  EXPECT_EQ(mistakes[1].at("message"), "train.epochz is an unknown key; did you mean train.epochs?");
  const json checked = json::parse(post("/validate", wrong)->body);
  EXPECT_EQ(checked.at("valid"), false);
  EXPECT_EQ(checked.at("mistakes").size(), 2u);
  const json fine = json::parse(post("/validate", kSpec)->body);
  EXPECT_EQ(fine.at("valid"), true);
  EXPECT_EQ(fine.at("estimate").at("trials"), 4);
  EXPECT_EQ(got("/jobs").at("total"), 0) << "nothing was submitted";
}

TEST_F(Http, TrialsCheckpointsLogsAndCurves) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  std::string bytes(3'000'000, 'x');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  train_first(bytes);
  std::this_thread::sleep_for(400ms);  // the page may be a moment old
  const json page = got("/jobs/1/trials");
  EXPECT_EQ(page.at("total"), 4);
  EXPECT_EQ(page.at("params"), (json{"train.lr", "train.seed"}));
  EXPECT_EQ(page.at("metrics").at(0), "auroc");
  EXPECT_EQ(page.at("trials").at(0).at("trial"), "1/0") << "the best first";
  EXPECT_EQ(page.at("trials").at(0).at("trained"), 0.75);
  EXPECT_EQ(page.at("trials").at(0).at("untrained"), 0.5);
  EXPECT_EQ(got("/jobs/1/trials?where=auroc%20%3E%200.7").at("total"), 1);
  EXPECT_EQ(got("/jobs/1/trials?state=waiting").at("total"), 2) << "the gang has the next one";
  EXPECT_EQ(got("/jobs/1/trials?sort=trial&reverse=true&limit=1").at("trials").at(0).at("trial"), "1/3");
  EXPECT_NE(problem_of(get("/jobs/1/trials?sort=nix"), 400).find("nix"), std::string::npos);
  EXPECT_EQ(got("/trials/1/0").at("final").at("auroc"), 0.75);
  EXPECT_EQ(got("/trials/1/0").at("rank"), 1);
  EXPECT_EQ(got("/trials/1/0").at("trained"), 0.75);
  EXPECT_EQ(got("/trials/1/0").at("stopped_early"), false);
  EXPECT_EQ(got("/trials/1/3").at("rank"), nullptr);
  EXPECT_EQ(got("/trials/1/0/metrics").at("loss"), (json{{"steps", {1, 2}}, {"values", {2.5, 2.0}}}));
  EXPECT_EQ(got("/jobs/1/curves?metric=loss").at("curves"),
            (json{{"1/0", {{"steps", {1, 2}}, {"values", {2.5, 2.0}}}}}));
  EXPECT_EQ(got("/trials/1/0/logs").at("lines").at(0).at("text"), "hello <b>");
  EXPECT_EQ(got("/trials/1/0/logs?after=1").at("lines").size(), 0u);
  const json spec = got("/trials/1/2/spec");
  EXPECT_NE(spec.at("yaml").get<std::string>().find("lr: 0.01"), std::string::npos);
  const json lr = {{"key", "train.lr"}, {"value", "0.01"}, {"default", "1e-4"}};
  EXPECT_NE(std::ranges::find(spec.at("differences"), lr), spec.at("differences").end()) << spec.at("differences");
  const json comparison = got("/compare?trial=1/0&trial=1/3");
  EXPECT_EQ(comparison.at("settings").size(), 2u);

  for (const std::string step : {"1", "latest"}) {
    const auto file = get("/trials/1/0/checkpoints/" + step);
    EXPECT_EQ(file->status, 200);
    EXPECT_EQ(file->body, bytes);
    EXPECT_EQ(file->get_header_value("Content-Disposition"), "attachment; filename=\"trial-1-0-step-1.safetensors\"");
  }
  problem_of(get("/trials/1/0/checkpoints/5"), 404);
  EXPECT_EQ(json::parse(post("/trials/1/0/checkpoints/latest/pin")->body), (json{{"step", 1}, {"pinned", true}}));
  EXPECT_EQ(got("/trials/1/0").at("checkpoints").at(0).at("pinned"), true);
  const auto asked = post("/query", R"({"sql": "SELECT count(*) AS n FROM trials"})", "application/json");
  EXPECT_EQ(json::parse(asked->body), (json{{"columns", {"n"}}, {"rows", {{4}}}, {"complete", true}}));
  problem_of(post("/query", R"({"sql": "DELETE FROM trials"})", "application/json"), 422);
  EXPECT_EQ(got("/gangs").at("gangs").at(0).at("host"), "box");
}

TEST_F(Http, PicturesAreListedAndKeptByTheBrowser) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  const std::string image = png_bytes(64, 48, false, "an image"), map = png_bytes(64, 48, true, "a map"),
                    truth = png_bytes(64, 48, true, "a mask");
  train_first("weights", {{0, 1, "crack/1.png", "brick \"1\"", true, 2.5, image, truth, map, 0.5, 4},
                          {1, 1, "good/2.png", "brick \"1\"", false, 0.75, image, "", map, 0.5, 4}});
  const json list = got("/trials/1/0/pictures");
  EXPECT_EQ(list.at("trial"), "1/0");
  EXPECT_EQ(list.at("figures"), json::array());
  ASSERT_EQ(list.at("pictures").size(), 2u);
  const json defect = list.at("pictures").at(0), normal = list.at("pictures").at(1);
  EXPECT_EQ(defect.at("class"), "brick \"1\"");
  EXPECT_EQ(defect.at("score"), 2.5);
  EXPECT_EQ(defect.at("anomalous"), true);
  EXPECT_EQ(defect.at("width"), 64);
  EXPECT_EQ(normal.at("truth"), nullptr);

  httplib::Client browser(address_);
  for (const auto& [part, bytes] : {std::pair{"image", image}, {"truth", truth}, {"map", map}}) {
    const std::string url = defect.at(part);
    EXPECT_TRUE(url.starts_with(fmt::format("/api/v1/trials/1/0/pictures/0/{}.png?v=", part))) << url;
    const auto png = checked(browser.Get(url));
    EXPECT_EQ(png->status, 200);
    EXPECT_EQ(png->body, bytes);
    EXPECT_EQ(png->get_header_value("Content-Type"), "image/png");
    EXPECT_EQ(png->get_header_value("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(png->get_header_value("Cache-Control"), "max-age=31536000, immutable");
    const auto again = checked(browser.Get(url, {{"If-None-Match", png->get_header_value("ETag")}}));
    EXPECT_EQ(again->status, 304);
    EXPECT_TRUE(again->body.empty());
  }
  const auto plain = get("/trials/1/0/pictures/1/image.png?v=other");
  EXPECT_EQ(plain->body, image);
  EXPECT_EQ(plain->get_header_value("Cache-Control"), "no-cache") << "it may be another one tomorrow";
  EXPECT_EQ(got("/trials/1/1/pictures").at("pictures"), json::array());
  problem_of(get("/trials/1/0/pictures/1/truth.png"), 404);
  problem_of(get("/trials/1/0/pictures/7/image.png"), 404);
  problem_of(get("/trials/1/9/pictures"), 404);
  problem_of(get("/trials/1/0/pictures/0/thumb.png"), 404);
  problem_of(get("/trials/1/0/figures/2.png"), 404);

  Client client = std::move(Client::connect(running_endpoint(options_.data).value()).value());
  ASSERT_TRUE(client.ask<FigureAttached>(AttachFigure{{1, 0}, 2, image}));
  const json figure = got("/trials/1/0/pictures").at("figures").at(0);
  EXPECT_EQ(figure.at("figure"), 2);
  EXPECT_EQ(figure.at("height"), 48);
  EXPECT_EQ(checked(browser.Get(figure.at("url").get<std::string>()))->body, image);
}

TEST_F(Http, PagesByNumberMissNothingThatComesInBetween) {
  for (int i = 0; i < 3; ++i) ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  const json first = got("/jobs?limit=1");
  EXPECT_EQ(first.at("jobs").at(0).at("job"), 3);
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  EXPECT_EQ(got("/jobs?limit=1&after=3").at("jobs").at(0).at("job"), 2);
  EXPECT_EQ(got("/jobs?after=1").at("total"), 0);
  const json trials = got("/jobs/1/trials?sort=trial&after=1");
  EXPECT_EQ(trials.at("total"), 2);
  EXPECT_EQ(trials.at("trials").at(0).at("trial"), "1/2");
  EXPECT_NE(problem_of(get("/jobs/1/trials?after=1"), 400).find("sort=trial"), std::string::npos);
  EXPECT_NE(problem_of(get("/jobs/1/trials?sort=trial&reverse=true&after=1"), 400).find("sort=trial"),
            std::string::npos);
  problem_of(get("/jobs?after=x"), 400);
}

TEST_F(Http, ATrialsMembersAreChosen) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  EXPECT_EQ(got("/jobs/1/trials?fields=state,rank&limit=1").at("trials"),
            (json{{{"rank", nullptr}, {"trial", "1/0"}, {"state", "waiting"}}}));
  EXPECT_NE(problem_of(get("/jobs/1/trials?fields=state,colour"), 400).find("fields has 'colour'; there are rank"),
            std::string::npos);
}

TEST_F(Http, AllMetricsOfAJobComeAsOneStream) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  train_first("0123456789");
  std::this_thread::sleep_for(400ms);  // the page may be a moment old
  const auto lines = get("/jobs/1/metrics");
  EXPECT_EQ(lines->get_header_value("Content-Type"), "application/x-ndjson");
  EXPECT_EQ(lines->body, R"({"trial":"1/0","metric":"a,\"b","steps":[1],"values":[null]})"
                         "\n"
                         R"({"trial":"1/0","metric":"auroc","steps":[0],"values":[0.5]})"
                         "\n"
                         R"({"trial":"1/0","metric":"loss","steps":[1,2],"values":[2.5,2]})"
                         "\n");
  const auto csv = get("/jobs/1/metrics?format=csv");
  EXPECT_EQ(csv->get_header_value("Content-Type"), "text/csv");
  EXPECT_EQ(csv->body, "trial,metric,step,value\n1/0,\"a,\"\"b\",1,\n1/0,auroc,0,0.5\n1/0,loss,1,2.5\n1/0,loss,2,2\n");
  const std::string loss = R"({"trial":"1/0","metric":"loss","steps":[1,2],"values":[2.5,2]})"
                           "\n";
  EXPECT_EQ(get("/jobs/1/metrics?metric=loss&state=finished")->body, loss);
  EXPECT_EQ(get("/jobs/1/metrics?metric=loss&where=auroc%3E0.7")->body, loss);
  EXPECT_EQ(get("/jobs/1/metrics?metric=lo")->body, "") << "a whole name";
  EXPECT_EQ(get("/jobs/1/metrics?metric=it's")->body, "");
  EXPECT_EQ(get("/jobs/1/metrics?after=0")->body, "");
  EXPECT_EQ(get("/jobs/1/metrics?where=trial%3E0&format=csv")->body, "trial,metric,step,value\n");
  EXPECT_NE(problem_of(get("/jobs/1/metrics?format=xml"), 400).find("format is 'xml'"), std::string::npos);
  problem_of(get("/jobs/1/metrics?where=nonsense%3E3"), 400);
  problem_of(get("/jobs/7/metrics"), 404);
}

TEST_F(Http, APartOfACheckpointIsThatPart) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  std::string bytes(chunk_bytes + 1'000'000, 'x');  // two chunks
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  train_first(bytes);
  const std::string path = "/trials/1/0/checkpoints/latest", size = std::to_string(bytes.size());
  const auto whole = get(path);
  EXPECT_TRUE(whole->body == bytes);
  EXPECT_EQ(whole->get_header_value("Accept-Ranges"), "bytes");
  const std::string tag = whole->get_header_value("ETag");
  EXPECT_EQ(tag.size(), 66u) << tag;
  const auto part = [&](const std::string& range, const std::string& first_and_last, const std::string& wanted) {
    const auto got = get(path, {{"Range", "bytes=" + range}, {"If-Range", tag}});
    EXPECT_EQ(got->status, 206) << range;
    EXPECT_EQ(got->get_header_value("Content-Range"), "bytes " + first_and_last + "/" + size);
    EXPECT_TRUE(got->body == wanted) << range << ": " << got->body.size() << " bytes";
  };
  const size_t end = bytes.size();
  part("4194300-4194310", "4194300-4194310", bytes.substr(4194300, 11));
  part("5-", fmt::format("5-{}", end - 1), bytes.substr(5));
  part("-9", fmt::format("{}-{}", end - 9, end - 1), bytes.substr(end - 9));
  part("4194304-99999999", fmt::format("4194304-{}", end - 1), bytes.substr(4194304));
  for (const std::string range : {"bytes=0-", "bytes=0-1,5-6"}) {
    const auto all = get(path, {{"Range", range}});
    EXPECT_EQ(all->status, 200) << range;
    EXPECT_TRUE(all->body == bytes) << range;
  }
  EXPECT_TRUE(get(path, {{"Range", "bytes=5-"}, {"If-Range", "\"another\""}})->body == bytes);
  EXPECT_EQ(get(path, {{"If-None-Match", tag}})->status, 304);
  const auto behind = get(path, {{"Range", "bytes=" + size + "-"}});
  problem_of(behind, 416);
  EXPECT_EQ(behind->get_header_value("Content-Range"), "bytes */" + size);
  problem_of(get(path, {{"Range", "bytes=x"}}), 416);
  EXPECT_EQ(get("/jobs", {{"Range", "bytes=2-5"}})->body.front(), '{') << "whoever is asked for a part may send all";
}

TEST_F(Http, EventsTellOfChangesAndOfTheEnd) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  std::string text;
  std::thread canceller([&] {
    std::this_thread::sleep_for(700ms);
    EXPECT_EQ(json::parse(post("/jobs/1/cancel")->body).at("cancelled_trials"), 4);
  });
  const auto read = httplib::Client(address_).Get("/api/v1/jobs/1/events", [&](const char* data, size_t size) {
    text.append(data, size);
    return true;
  });
  canceller.join();
  ASSERT_TRUE(read);
  EXPECT_EQ(read->get_header_value("Content-Type"), "text/event-stream");
  EXPECT_NE(text.find("event: changed\ndata: {\"job\":1"), std::string::npos);
  const size_t end = text.find("event: ended\n");
  ASSERT_NE(end, std::string::npos);
  EXPECT_NE(text.find("\"state\":\"cancelled\"", end), std::string::npos);
  problem_of(get("/jobs/9/events"), 404);
}

TEST_F(Http, WhatIsHeldGoesOn) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  EXPECT_EQ(json::parse(post("/jobs/1/pause")->body).at("paused"), true);
  EXPECT_EQ(got("/jobs/1").at("state"), "paused");
  EXPECT_EQ(json::parse(post("/jobs/1/resume")->body).at("waiting"), 4);
  EXPECT_EQ(got("/jobs/1").at("state"), "waiting");
  problem_of(post("/jobs/7/pause"), 404);
}

TEST_F(Http, BadRequestsAreProblemsThatSayWhat) {
  EXPECT_NE(problem_of(get("/jobs/7"), 404).find("job 7"), std::string::npos);
  EXPECT_NE(problem_of(get("/nothing"), 404).find("/api/v1/nothing"), std::string::npos);
  EXPECT_NE(problem_of(get("/jobs?limit=0"), 400).find("limit is '0'"), std::string::npos);
  problem_of(get("/jobs/1/curves"), 400);
  problem_of(get("/compare?trial=x"), 400);
  problem_of(post("/jobs", kSpec, "text/plain"), 415);
  problem_of(post("/query", "[]", "application/json"), 400);
  problem_of(post("/drain", R"({"target": 3})", "application/json"), 400);
  httplib::Client client(address_);
  const auto wrong = client.Put("/api/v1/jobs", kSpec, kYaml);
  EXPECT_NE(problem_of(wrong, 405).find("GET, POST"), std::string::npos);
  EXPECT_EQ(wrong->get_header_value("Allow"), "GET, POST");
  problem_of(post("/jobs", std::string((8 << 20) + 1, ' ')), 413);
}

TEST_F(Http, PagesOfOtherSitesReachNothing) {
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  EXPECT_NE(problem_of(get("/jobs", {{"Host", "evil.example"}}), 403).find("evil.example"), std::string::npos);
  problem_of(get("/jobs", {{"Host", "127.evil.example"}}), 403);  // whose owner has it lead here
  problem_of(post("/jobs/1/cancel", "", kYaml, {{"Origin", "http://evil.example"}}), 403);
  problem_of(post("/jobs/1/cancel", "", kYaml, {{"Origin", "null"}}), 403);
  EXPECT_EQ(got("/jobs/1").at("cancelled"), 0);
  EXPECT_EQ(post("/jobs/1/cancel", "", kYaml, {{"Origin", address_}})->status, 200);
}

TEST_F(Http, AHeadOfAnySizeIsNotRead) {
  const std::string begin = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  const auto headers = [](size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += "X-Some: header\r\n";
    return text;
  };
  for (const std::string& endless :
       {std::string(80 << 10, 'x'), begin + "X-Long: " + std::string(80 << 10, 'x'), begin + headers(80 << 10)}) {
    const auto answer = answer_to(endless);
    ASSERT_TRUE(answer) << endless.substr(0, 60) << ": it is read on and on";
    EXPECT_EQ(answer->find("200 OK"), std::string::npos);
  }
  EXPECT_TRUE(is_told("its request is too large"));
  // Each request has its own, also where several come at once.
  const std::string large = begin + headers(40 << 10);
  const auto answers = answer_to(large + "\r\n" + large + "Connection: close\r\n\r\n");
  ASSERT_TRUE(answers);
  const size_t first = answers->find("200 OK");
  ASSERT_NE(first, std::string::npos);
  EXPECT_NE(answers->find("200 OK", first + 1), std::string::npos);
}

TEST_F(Http, ABodyInPiecesHasTheSameLimit) {
  const std::string begin =
      "POST /api/v1/validate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/yaml\r\n"
      "Transfer-Encoding: chunked\r\n";
  std::string endless = begin + "\r\n";
  for (int i = 0; i < 10; ++i) endless += "100000\r\n" + std::string(1 << 20, ' ') + "\r\n";
  const auto cut = answer_to(endless);
  ASSERT_TRUE(cut) << "it is read on and on";
  EXPECT_TRUE(cut->starts_with("HTTP/1.1 413")) << cut->substr(0, 100);
  EXPECT_TRUE(is_told("its request is too large"));
  const std::string spec = kSpec;
  const auto whole =
      answer_to(begin + fmt::format("Connection: close\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", spec.size(), spec));
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->starts_with("HTTP/1.1 200")) << *whole;
}

TEST_F(Http, APackedBodyIsNotUnpacked) {
  for (const char* packed : {"gzip", "deflate", "br", "identity, gzip"}) {
    const auto answer = post("/validate", kSpec, kYaml, {{"Content-Encoding", packed}});
    EXPECT_NE(problem_of(answer, 415).find("Content-Encoding"), std::string::npos);
  }
  problem_of(post("/validate", kSpec, kYaml, {{"Content-Encoding", "identity"}, {"Content-Encoding", "gzip"}}), 415);
  EXPECT_EQ(post("/validate", kSpec, kYaml, {{"Content-Encoding", "Identity"}})->status, 200);
  EXPECT_TRUE(is_told("its request is compressed"));
}

TEST_F(Http, RefusalsAreAmongTheEvents) {
  problem_of(get("/jobs", {{"Host", "evil.example"}}), 403);
  problem_of(post("/jobs", kSpec, kYaml, {{"Origin", "http://evil.example"}}), 403);
  EXPECT_TRUE(is_told("refused 127.0.0.1: it asked for another host than localhost"));
  EXPECT_TRUE(is_told("refused 127.0.0.1: a page of another site asked for a change"));
  const auto events = post("/query", R"({"sql": "SELECT text FROM events"})", "application/json");
  EXPECT_EQ(events->body.find("evil"), std::string::npos) << "what a stranger says is not told";
}

TEST_F(Http, WithoutKeysConnectionsStay) {
  const std::string request = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  const auto answers = answer_to(request + "\r\n" + request + "Connection: close\r\n\r\n");
  ASSERT_TRUE(answers);
  const size_t first = answers->find("200 OK");
  ASSERT_NE(first, std::string::npos);
  EXPECT_NE(answers->find("200 OK", first + 1), std::string::npos) << "the second request has no answer";
}

TEST_F(Http, PagesAndMetricsAreServed) {
  httplib::Client client(address_);
  const auto page = checked(client.Get("/"));
  EXPECT_NE(page->body.find("<!doctype html>"), std::string::npos);
  EXPECT_NE(page->get_header_value("Content-Security-Policy").find("default-src 'self'"), std::string::npos);
  const auto charts = checked(client.Get("/assets/echarts.min.js"));
  EXPECT_GT(charts->body.size(), 500'000u);
  const auto again = client.Get("/assets/echarts.min.js", {{"If-None-Match", charts->get_header_value("ETag")}});
  EXPECT_EQ(again->status, 304);
  problem_of(client.Get("/assets/..%2f..%2fetc%2fpasswd"), 404);
  EXPECT_EQ(checked(client.Get("/healthz"))->body, "ok\n");
  EXPECT_EQ(checked(client.Get("/readyz"))->body, "ok\n");
  ASSERT_EQ(post("/jobs", kSpec)->status, 201);
  const auto metrics = checked(client.Get("/metrics"));
  EXPECT_NE(metrics->body.find("\nhivq_jobs{state=\"waiting\"} 1\n"), std::string::npos);
  EXPECT_NE(metrics->body.find("\nhivq_trials{state=\"waiting\"} 4\n"), std::string::npos);
  EXPECT_NE(metrics->body.find("\nhivq_trials_queued 4\n"), std::string::npos);
  ASSERT_EQ(post("/jobs/1/pause", "{}", "application/json")->status, 200);
  const auto paused = checked(client.Get("/metrics"));
  EXPECT_NE(paused->body.find("\nhivq_trials{state=\"waiting\"} 4\n"), std::string::npos);
  EXPECT_NE(paused->body.find("\nhivq_trials_queued 0\n"), std::string::npos) << "a paused job waits for no gang";
}

TEST_F(Http, TheAddressStaysOverARestartAndOffMeansOff) {
  const std::string before = address_;
  stop();
  // The last run's address is in its file, which a run that ends in order leaves; this fixture's stop() removes it.
  std::ofstream(options_.data + "/coordinator.json")
      << json{{"endpoint", "tcp://127.0.0.1:1"}, {"pid", 1}, {"start_time", 1}, {"http", before}};
  stop_ = false;
  thread_ = std::thread([this] { ended_ = serve(options_, stop_, log_); });
  json address = json::object();
  for (int i = 0; i < 1000 && address.value("pid", 1) == 1; ++i) {
    std::this_thread::sleep_for(10ms);
    std::ifstream file(options_.data + "/coordinator.json");
    address = json::parse(file, nullptr, false);
    if (!address.is_object()) address = json{{"pid", 1}};
  }
  EXPECT_EQ(address.at("http"), before);
  stop();
  options_.http = "off";
  stop_ = false;
  thread_ = std::thread([this] { ended_ = serve(options_, stop_, log_); });
  for (int i = 0; i < 1000 && !running_endpoint(options_.data); ++i) std::this_thread::sleep_for(10ms);
  std::ifstream file(options_.data + "/coordinator.json");
  EXPECT_EQ(json::parse(file).at("http"), "");
}

TEST_F(Http, APortInUseIsAnErrorThatNamesTheRemedy) {
  ServerOptions second = options_;
  second.data = folder_ + "/other";
  second.http = address_;
  const Status ended = serve(second, std::atomic<bool>(true), log_);
  ASSERT_FALSE(ended);
  EXPECT_NE(ended.error().message.find("--http off"), std::string::npos);
}

TEST(HttpAddress, AWrongOneNamesTheRemedy) {
  const Log log("coordinator", Level::warning);
  for (const char* wrong : {"127.0.0.1:80", "http://:80", "http://127.0.0.1", "http://127.0.0.1:x", "http://h:99999"}) {
    ServerOptions options;
    options.data = fs::temp_directory_path().string() + "/hivq_http_wrong_" + std::to_string(getpid());
    options.listen = "tcp://127.0.0.1:0";
    options.http = wrong;
    const Status ended = serve(options, std::atomic<bool>(true), log);
    ASSERT_FALSE(ended) << wrong;
    EXPECT_NE(ended.error().message.find("http://HOST:PORT"), std::string::npos);
    fs::remove_all(options.data);
  }
}

TEST(HttpMistakes, KeepTheLinesThatTheyCanRead) {
  const auto mistakes = mistakes_of("a.yaml:12: x is wrong\nand more\na.yaml: whole", "a.yaml");
  ASSERT_EQ(mistakes.size(), 3u);
  EXPECT_EQ(mistakes[0].line, 12);
  EXPECT_EQ(mistakes[0].message, "x is wrong");
  EXPECT_EQ(mistakes[1].message, "and more");
  EXPECT_EQ(mistakes[2].line, 0);
}

}  // namespace
}  // namespace hivq
