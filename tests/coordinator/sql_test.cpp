#include "coordinator/sql.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "common/version.h"
#include "coordinator/points.h"
#include "coordinator/sql_service.h"
#include "coordinator/sql_tables.h"

namespace hivq {
namespace {

/// Two jobs, three trials, curves and a log in a real store.
class Sql : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_sql_" + std::to_string(getpid());
  std::optional<Store> store_;

  void SetUp() override {
    store_ = std::move(Store::open(folder_).value());
    std::vector<Write> writes;
    JobRow job;
    job.id = 1, job.name = "first", job.metric = "auroc", job.goal = "maximize", job.trials = 2;
    job.state = State::finished, job.submitted = 1'700'000'000'500, job.ended = 1'700'000'100'000;
    writes.push_back({Family::jobs, key_of(job.id), pack(job)});
    job.id = 256, job.name = "it's another", job.state = State::pending, job.ended = 0;
    writes.push_back({Family::jobs, key_of(job.id), pack(job)});
    for (const TrialId id : {TrialId{1, 0}, TrialId{1, 1}, TrialId{256, 0}}) {
      TrialRow trial;
      trial.id = id, trial.state = State::finished, trial.started = 1000, trial.ended = 3500;
      trial.params = {{"train.lr", id.index == 0 ? "1e-4" : "3e-4"}, {"eval.score", "max"}, {"train.seed", "7"}};
      trial.initial = {{"auroc", 0.5}};
      trial.final = {{"auroc", 0.8 + 0.1 * static_cast<double>(id.index)}, {"auroc/bottle", 0.75}};
      writes.push_back({Family::trials, key_of(id), pack(trial)});
      for (int64_t step = 0; step < 300; ++step) {
        const MetricPoint loss{step, 10.0 - static_cast<double>(step)}, pot{step, 1.0};
        writes.push_back({Family::points, points_key(id, "loss", step), encode_points({&loss, 1}), true});
        writes.push_back({Family::points, points_key(id, "loss_pot", step), encode_points({&pot, 1}), true});
      }
      writes.push_back({Family::logs, log_key({id, 9}, 4), pack(EventRow{5000, "starts"})});
    }
    writes.push_back({Family::events, key_of(1), pack(EventRow{1000, "job 1 was submitted"})});
    ASSERT_TRUE(store_->commit(writes));
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  static std::string text_of(const SqlRow& row) {
    std::string text;
    for (const SqlValue& value : row) {
      if (!text.empty()) text += '|';
      if (const auto* whole = std::get_if<int64_t>(&value)) text += fmt::format("{}", *whole);
      if (const auto* real = std::get_if<double>(&value)) text += fmt::format("{:.6g}", *real);
      if (const auto* word = std::get_if<std::string>(&value)) text += *word;
      if (std::holds_alternative<std::monostate>(value)) text += "NULL";
    }
    return text;
  }
  /// Rows as lines, or the error.
  std::vector<std::string> ask(const std::string& question, SqlLimits limits = {}, size_t bytes = 1 << 20) {
    auto cursor = SqlCursor::open(*store_, question, limits);
    if (!cursor) return {cursor.error().message};
    std::vector<std::string> lines;
    for (;;) {
      auto rows = cursor->next(bytes);
      if (!rows) return {rows.error().message};
      if (rows->empty()) return lines;
      for (const SqlRow& row : *rows) lines.push_back(text_of(row));
    }
  }
  std::string one(const std::string& question, SqlLimits limits = {}) {
    const auto lines = ask(question, limits);
    return lines.size() == 1 ? lines[0] : fmt::format("{} rows", lines.size());
  }
  using Lines = std::vector<std::string>;
};

TEST_F(Sql, TellsTheVersionAndTheClockOfTheCoordinator) {
  EXPECT_EQ(one("SELECT hivq_version()"), version);
  const auto before = wall_clock();
  const auto told = std::stoll(one("SELECT CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"));
  EXPECT_GE(told, before - 1) << "SQLite's clock has milliseconds";
  EXPECT_LE(told, wall_clock() + 1);
}

TEST_F(Sql, ReadsWhatIsStored) {
  EXPECT_EQ(ask("SELECT job, name, state, trials, submitted, ended FROM jobs"),
            (Lines{"1|first|finished|2|1.7e+09|1.7e+09", "256|it's another|waiting|2|1.7e+09|NULL"}));
  EXPECT_EQ(one("SELECT submitted FROM jobs WHERE job = 1"), "1.7e+09");
  EXPECT_EQ(one("SELECT submitted = 1700000000.5 FROM jobs WHERE job = 1"), "1");
  EXPECT_EQ(ask("SELECT id, seconds FROM trials"), (Lines{"1/0|2.5", "1/1|2.5", "256/0|2.5"}));
  EXPECT_EQ(ask("SELECT name, value, typeof(value) FROM params WHERE job = 1 AND trial = 0"),
            (Lines{"eval.score|max|text", "train.lr|0.0001|real", "train.seed|7|integer"}));
  EXPECT_EQ(ask("SELECT name, value, untrained FROM results WHERE job = 1 AND trial = 1"),
            (Lines{"auroc|0.9|0.5", "auroc/bottle|0.75|NULL"}));
  EXPECT_EQ(one("SELECT job, trial, attempt, at, text FROM logs WHERE job = 256"), "256|0|9|5|starts");
  EXPECT_EQ(one("SELECT number, text FROM events"), "1|job 1 was submitted");
  EXPECT_EQ(ask("SELECT * FROM gangs"), Lines{});
}

TEST_F(Sql, WhatAQuestionFixesNarrowsWhatIsRead) {
  EXPECT_EQ(one("SELECT count(*), min(value), max(step) FROM metrics"), "1800|-289|299");
  EXPECT_EQ(one("SELECT count(*) FROM metrics WHERE job = 1"), "1200");
  EXPECT_EQ(one("SELECT count(*) FROM metrics WHERE job = 1 AND trial = 1"), "600");
  EXPECT_EQ(one("SELECT count(*) FROM metrics WHERE job = 1 AND trial = 1 AND name = 'loss'"), "300");
  EXPECT_EQ(one("SELECT value FROM metrics WHERE job = 1 AND trial = 1 AND name = 'loss' AND step = 5"), "5");
  EXPECT_EQ(one("SELECT count(*) FROM metrics WHERE name = 'loss'"), "900") << "not from the beginning";
  EXPECT_EQ(one("SELECT count(*) FROM metrics WHERE job IN (1, 256)"), "1800");
  for (const char* none :
       {"job = 2", "job = 1.5", "job = -1", "job = NULL", "job = 'x'", "job = 1 AND trial = 1 AND name = 7"}) {
    EXPECT_EQ(one(std::string("SELECT count(*) FROM metrics WHERE ") + none), "0") << none;
  }
  EXPECT_EQ(one("SELECT count(*) FROM trials t JOIN metrics m USING (job, trial) WHERE t.id = '256/0'"), "600");
}

TEST_F(Sql, CurvesInPiecesHaveThePointsOfMetrics) {
  const MetricPoint odd[] = {{2'000, std::numeric_limits<double>::infinity()}, {2'001, NAN}, {2'002, 0.1}};
  const Write write{Family::points, points_key({256, 0}, "odd", 2'000), encode_points(odd), true};
  ASSERT_TRUE(store_->commit({&write, 1}));
  EXPECT_EQ(one("SELECT steps_json, values_json FROM curves WHERE job = 256 AND trial = 0 AND name = 'odd'"),
            "[2000,2001,2002]|[null,null,0.1]");
  EXPECT_EQ(ask("SELECT trial, json_array_length(steps_json), json_extract(steps_json, '$[299]'), "
                "json_extract(values_json, '$[5]') FROM curves WHERE job = 1 AND trial IN (0, 1) AND name = 'loss'"),
            (Lines{"0|300|299|5", "1|300|299|5"}));
}

TEST_F(Sql, TheTableOfAJobHasItsParametersAndMetricsAsColumns) {
  EXPECT_EQ(ask("SELECT id, \"train.lr\", auroc, \"auroc/bottle\" FROM trials_of_1 WHERE auroc > 0.5 "
                "ORDER BY auroc DESC"),
            (Lines{"1/1|0.0003|0.9|0.75", "1/0|0.0001|0.8|0.75"}));
  EXPECT_EQ(one("SELECT count(*) FROM trials_of_256"), "1");
  EXPECT_EQ(one("SELECT * FROM trials_of_7"), "there is no table trials_of_7: there is no job 7");
}

TEST_F(Sql, BatchesMakeTheAnswer) {
  const auto whole = ask("SELECT * FROM metrics");
  EXPECT_EQ(ask("SELECT * FROM metrics", {}, 1), whole);
  EXPECT_EQ(ask("SELECT * FROM metrics", {}, 1000), whole);
}

TEST_F(Sql, NothingButReadingIsAllowed) {
  const std::string refused = "a question can only read: it must be one SELECT";
  for (const char* question :
       {"CREATE TABLE t(x)", "ATTACH '/tmp/x' AS y", "PRAGMA user_version = 3",
        "CREATE TEMP TABLE t AS SELECT 1", "VACUUM INTO '/tmp/hivq-copy'", "SELECT load_extension('x')",
        "DROP TABLE jobs"}) {
    EXPECT_EQ(one(question), refused) << question;
  }
  EXPECT_EQ(one("DELETE FROM jobs"), "table jobs may not be modified");
  EXPECT_EQ(one("INSERT INTO jobs(job) VALUES (9)"), refused);
  EXPECT_EQ(one("SELECT 1; SELECT 2"), "one question at a time: there is something behind the first `;`");
  EXPECT_EQ(one("SELECT 1 ; "), "1");
  EXPECT_EQ(one("  "), "the question is empty; for instance: SELECT * FROM jobs");
  EXPECT_EQ(one("SELECT nme FROM jobs"), "no such column: nme");
  EXPECT_EQ(one("SELECT * FROM nowhere"), "no such table: nowhere");
}

TEST_F(Sql, TimeRowsAndMemoryHaveLimits) {
  const std::string endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) ";
  EXPECT_EQ(one(endless + "SELECT count(*) FROM n", {std::chrono::milliseconds(100)}),
            "the question took longer than 0.1 s; narrow it, by job and trial for instance");
  EXPECT_EQ(one(endless + "SELECT x FROM n", {std::chrono::seconds(20), 1000}),
            "the answer has more than 1000 rows; narrow the question, or add LIMIT");
  EXPECT_NE(one("SELECT length(zeroblob(1000000000))").find("too big"), std::string::npos);
  EXPECT_EQ(one(endless + "SELECT x FROM (SELECT x, randomblob(1000000) y FROM n LIMIT 2000) ORDER BY y"),
            "the question needs more than 512 MiB of memory; narrow it, or leave out ORDER BY and DISTINCT");
  EXPECT_EQ(one("SELECT count(*) FROM jobs"), "2") << "and the next question is answered";
}

TEST_F(Sql, AServiceThatEndsBreaksOffWhatIsBeingAnswered) {
  SqlServiceOptions options;
  options.limits.time = std::chrono::hours(1);
  std::optional<SqlService> service(std::in_place, *store_, options);
  service->ask({"peer", 1, {"key", "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", 0}});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(service->busy());
  service.reset();  // returns
}

TEST_F(Sql, ADamagedRowIsAnErrorThatNamesIt) {
  const Write damage{Family::trials, key_of(TrialId{1, 5}), "\xc1"};
  ASSERT_TRUE(store_->commit({&damage, 1}));
  EXPECT_NE(one("SELECT * FROM trials").find("a row of trials cannot be read: "), std::string::npos);
}

TEST_F(Sql, EveryTableCanBeReadAndTellsWhatItIs) {
  for (const auto& [table, family, prefix, numbers, has_name, read, fixed] : stored_tables()) {
    EXPECT_FALSE(table.about.empty());
    auto cursor = SqlCursor::open(*store_, "SELECT * FROM " + table.name);
    ASSERT_TRUE(cursor) << cursor.error().message;
    std::vector<std::string> names;
    for (const SqlColumn& column : table.columns) names.push_back(column.name);
    EXPECT_EQ(cursor->columns(), names);
    EXPECT_TRUE(cursor->next());
  }
}

}  // namespace
}  // namespace hivq
