#include "worker/data/idx.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "worker/data/file.h"

namespace hivq {
namespace {

class IdxFile : public testing::Test {
 protected:
  std::string path = testing::TempDir() + fmt::format("/hivq_idx_test_{}.idx", ::getpid());
  void TearDown() override { std::filesystem::remove(path); }

  static std::string header(uint8_t type, const std::vector<uint32_t>& shape) {
    std::string bytes = {0, 0, static_cast<char>(type), static_cast<char>(shape.size())};
    for (const uint32_t size : shape) {
      for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(size >> shift));
    }
    return bytes;
  }
  static std::string gzip(const std::string& bytes) {
    const std::string packed_path = testing::TempDir() + fmt::format("/hivq_idx_test_{}.gz", ::getpid());
    const gzFile file = gzopen(packed_path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    std::string packed = read_file(packed_path).value();
    std::filesystem::remove(packed_path);
    return packed;
  }
  Result<Idx> read(const std::string& bytes, int dimensions = 3) {
    EXPECT_TRUE(write_file(path, bytes));
    return read_idx(path, dimensions);
  }
  void expect_error(const std::string& bytes, const std::string& says, int dimensions = 3) {
    const auto idx = read(bytes, dimensions);
    ASSERT_FALSE(idx) << "should say: " << says;
    EXPECT_NE(idx.error().message.find(says), std::string::npos) << idx.error().message << "\n  should say: " << says;
    EXPECT_NE(idx.error().message.find(path), std::string::npos) << idx.error().message;
  }
};

TEST_F(IdxFile, ReadsPlainAndCompressed) {
  const std::string bytes = header(8, {2, 1, 3}) + "abcdef";
  for (const std::string& file : {bytes, gzip(bytes)}) {
    const auto idx = read(file);
    ASSERT_TRUE(idx) << idx.error().message;
    EXPECT_EQ(idx->shape, (std::vector<int64_t>{2, 1, 3}));
    EXPECT_EQ(std::string(idx->values.begin(), idx->values.end()), "abcdef");
  }
  EXPECT_EQ(read(header(8, {0}), 1)->values.size(), 0u);
}

TEST_F(IdxFile, SaysWhatIsWrongWithADamagedFile) {
  expect_error("", "header is incomplete");
  expect_error(header(8, {2, 1, 3}).substr(0, 9), "header is incomplete");
  expect_error(header(8, {2, 1, 3}) + "abcde", "truncated: it holds 5 of 6 values");
  expect_error(header(8, {2, 1, 3}) + "abcdefg", "more than the 6 values");
  expect_error(header(8, {2, 3}) + "abcdef", "is not an IDX file of bytes with 3 dimensions: it starts with 00000802");
  expect_error(header(13, {2, 1, 3}) + "abcdef",
               "is not an IDX file of bytes with 3 dimensions: it starts with 00000d03");
  expect_error(header(8, {4294967295u, 4294967295u, 4294967295u}), "impossible size");
  expect_error(header(8, {1u << 20, 1u << 10, 1u << 5}) + "abc", "truncated: it holds 3 of");  // allocates no 32 GiB
}

TEST_F(IdxFile, NoticesADamagedCompressedFile) {
  const std::string packed = gzip(header(8, {1, 100, 100}) + std::string(10'000, 'x'));
  for (size_t size = 0; size < packed.size(); ++size) EXPECT_FALSE(read(packed.substr(0, size))) << size;
  std::string wrong = packed;
  wrong[wrong.size() - 6] ^= 1;  // the trailer's checksum
  expect_error(wrong, "damaged");
}

TEST_F(IdxFile, NamesAMissingFile) {
  const auto idx = read_idx(path, 1);
  ASSERT_FALSE(idx);
  EXPECT_EQ(idx.error().message, fmt::format("cannot read {}: No such file or directory", path));
}

}  // namespace
}  // namespace hivq
