#include "jobs/cli/parquet.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

namespace hivq::cli {
namespace {

struct ParquetTest : testing::Test {
  std::string folder = std::filesystem::temp_directory_path() / ("hivq-parquet-" + std::to_string(getpid()));
  std::string path = folder + "/answer.parquet";
  ParquetTest() { std::filesystem::create_directories(folder); }
  ~ParquetTest() override { std::filesystem::remove_all(folder); }

  std::shared_ptr<arrow::Table> read() const {
    auto file = arrow::io::ReadableFile::Open(path).ValueOrDie();
    auto reader = parquet::arrow::OpenFile(file, arrow::default_memory_pool()).ValueOrDie();
    return reader->ReadTable().ValueOrDie()->CombineChunks().ValueOrDie();
  }
};

TEST_F(ParquetTest, EachColumnHasTheNarrowestTypeOfItsValues) {
  const double not_a_number = std::nan(""), third = 1.0 / 3;
  ParquetFile file(path);
  ASSERT_TRUE(file.add({0,
                        {"whole", "real", "text", "widened", "named", "nothing"},
                        {{SqlValue{int64_t{1}}, {third}, {std::string("a\0b", 3)}, {int64_t{7}}, {int64_t{7}}, {}},
                         {SqlValue{std::numeric_limits<int64_t>::min()}, {not_a_number}, {}, {}, {third}, {}}},
                        false}));
  ASSERT_TRUE(file.add({1, {}, {{SqlValue{}, {}, {std::string()}, {0.5}, {std::string("x")}, {}}}, false}));
  ASSERT_TRUE(file.add({2, {}, {}, true}));
  EXPECT_EQ(file.finish().value(), 3u);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));

  const auto table = read();
  ASSERT_EQ(table->num_rows(), 3);
  EXPECT_EQ(table->ColumnNames(), (std::vector<std::string>{"whole", "real", "text", "widened", "named", "nothing"}));
  const auto column = [&](int i) { return table->column(i)->chunk(0); };
  const auto whole = std::dynamic_pointer_cast<arrow::Int64Array>(column(0));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->Value(0), 1);
  EXPECT_EQ(whole->Value(1), std::numeric_limits<int64_t>::min());
  EXPECT_TRUE(whole->IsNull(2));
  const auto real = std::dynamic_pointer_cast<arrow::DoubleArray>(column(1));
  ASSERT_TRUE(real);
  EXPECT_EQ(real->Value(0), third);
  EXPECT_TRUE(std::isnan(real->Value(1)) && !real->IsNull(1));
  EXPECT_TRUE(real->IsNull(2));
  const auto text = std::dynamic_pointer_cast<arrow::StringArray>(column(2));
  ASSERT_TRUE(text);
  EXPECT_EQ(text->GetString(0), std::string("a\0b", 3));
  EXPECT_TRUE(text->IsNull(1));
  EXPECT_TRUE(text->IsValid(2) && text->GetString(2).empty());
  const auto widened = std::dynamic_pointer_cast<arrow::DoubleArray>(column(3));
  ASSERT_TRUE(widened);
  EXPECT_EQ(widened->Value(0), 7.0);
  EXPECT_TRUE(widened->IsNull(1));
  EXPECT_EQ(widened->Value(2), 0.5);
  const auto named = std::dynamic_pointer_cast<arrow::StringArray>(column(4));
  ASSERT_TRUE(named);
  EXPECT_EQ(named->GetString(0), "7");
  EXPECT_EQ(std::stod(named->GetString(1)), third);
  EXPECT_EQ(named->GetString(2), "x");
  EXPECT_EQ(column(5)->null_count(), 3);
}

TEST_F(ParquetTest, AnAnswerWithoutRowsHasItsColumns) {
  ParquetFile file(path);
  ASSERT_TRUE(file.add({0, {"a", "b"}, {}, true}));
  EXPECT_EQ(file.finish().value(), 0u);
  EXPECT_EQ(read()->ColumnNames(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(ParquetTest, AFileThatCannotBeWrittenLeavesTheOldOne) {
  ParquetFile nowhere(folder + "/none/answer.parquet");
  ASSERT_TRUE(nowhere.add({0, {"a"}, {{SqlValue{int64_t{1}}}}, true}));
  auto failed = nowhere.finish();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find(folder + "/none/answer.parquet cannot be written"), std::string::npos)
      << failed.error().message;

  std::filesystem::create_directories(path + "/a folder of this name");
  ParquetFile taken(path);
  ASSERT_TRUE(taken.add({0, {"a"}, {{SqlValue{int64_t{1}}}}, true}));
  EXPECT_FALSE(taken.finish());
  EXPECT_TRUE(std::filesystem::is_directory(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

}  // namespace
}  // namespace hivq::cli
