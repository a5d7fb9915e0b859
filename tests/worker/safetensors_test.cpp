#include "worker/data/safetensors.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

namespace hivq {
namespace {

/// A file with this header and this many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

std::string error_of(const std::string& bytes) {
  const auto file = read_safetensors(bytes, "w.safetensors");
  return file ? "no error" : file.error().message;
}

std::vector<NamedTensor> one_of_each_type() {
  const at::Tensor values = at::arange(6).reshape({2, 3});
  std::vector<NamedTensor> tensors;
  for (const auto type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kByte, at::kBool}) {
    tensors.push_back({c10::toString(type), values.to(type)});
  }
  tensors.push_back({"scalar", at::scalar_tensor(2.5)});
  tensors.push_back({"empty", at::empty({0, 4})});
  tensors.push_back({"transposed", values.to(at::kFloat).t()});
  return tensors;
}

TEST(SafeTensors, ReadsBackWhatItWroteInEveryType) {
  const auto tensors = one_of_each_type();
  const auto file = read_safetensors(write_safetensors(tensors, {{"step", "7"}, {"ü", "\"\n"}}), "memory");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(file->tensors.contains(name)) << name;
    EXPECT_EQ(file->tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(file->tensors.at(name), tensor)) << name;
  }
  EXPECT_EQ(file->metadata, (std::map<std::string, std::string>{{"step", "7"}, {"ü", "\"\n"}}));
}

TEST(SafeTensors, AlignsTheDataAndIsDeterministic) {
  const std::string bytes = write_safetensors(one_of_each_type());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(bytes, write_safetensors(one_of_each_type()));
}

TEST(SafeTensors, ReadsTheReferenceLayout) {
  // As the Python package writes {"a": float32 [2]}: keys in its order, no metadata.
  std::string bytes = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 0);
  const float values[] = {1.5f, -2.0f};
  bytes.append(reinterpret_cast<const char*>(values), 8);
  const auto file = read_safetensors(bytes, "memory");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(at::equal(file->tensors.at("a"), at::tensor({1.5f, -2.0f})));
}

TEST(SafeTensors, SaysWhatIsWrongWithADamagedFile) {
  const struct {
    std::string bytes, says;
  } cases[] = {
      {"abc", "too few"},
      {file_of("{}", 0).substr(0, 9), "truncated"},
      {std::string(16, '\xff'), "this is no safetensors file"},
      {file_of("{\"a\":", 0), "no safetensors JSON"},
      {file_of("[]", 0), "no safetensors JSON"},
      {file_of(std::string(200'000, '['), 0), "no safetensors JSON"},
      {file_of(R"({"a":3})", 0), "tensor `a` is not described by an object"},
      {file_of(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4), "tensor `a` has no dtype"},
      {file_of(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4), "unknown dtype \"F7\""},
      {file_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4), "tensor `a` has no shape"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "no list of sizes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0), "no list of sizes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "no data_offsets"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})", 4), "no data_offsets"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4), "ends before it begins"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4), "it is truncated"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "its shape needs 8"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
           6),
       "tensor `b` overlaps another"},
      {file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", 4), "2 bytes before tensor `a`"},
      {file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 4), "2 bytes at the end"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
           2),
       "tensor `a` occurs twice"},
      {file_of(R"({"__metadata__":{"k":1}})", 0), "__metadata__ `k` is not a string"},
  };
  for (const auto& [bytes, says] : cases) {
    const std::string message = error_of(bytes);
    EXPECT_NE(message.find(says), std::string::npos) << message << "\n  should say: " << says;
    EXPECT_TRUE(message.starts_with("w.safetensors: ")) << message;
  }
}

TEST(SafeTensors, NeverCrashesOnAFlippedOrCutFile) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  const std::string good = write_safetensors(one_of_each_type(), {{"k", "v"}});
  uint64_t header = 0;
  std::memcpy(&header, good.data(), 8);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint64_t flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % (8 + header)] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto file = read_safetensors(bytes, "fuzz");
    if (file) continue;
    ++refused;
    ASSERT_TRUE(file.error().message.starts_with("fuzz: ")) << file.error().message;
  }
  EXPECT_GT(refused, 10'000);
}

TEST(SafeTensors, EveryCutIsAnError) {
  const std::string good = write_safetensors(one_of_each_type());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(read_safetensors(std::string_view(good).substr(0, size), "cut")) << size;
  }
}

TEST(SafeTensors, SavesAndLoadsAFileAndNamesAMissingOne) {
  const std::string path = testing::TempDir() + "/hivq_safetensors_test.safetensors";
  ASSERT_TRUE(save_safetensors(path, one_of_each_type()));
  const auto file = load_safetensors(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors.size(), one_of_each_type().size());
  std::filesystem::remove(path);

  const auto missing = load_safetensors(path);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, fmt::format("cannot read {}: No such file or directory", path));
  EXPECT_FALSE(load_safetensors(testing::TempDir()));
  EXPECT_FALSE(save_safetensors("/nowhere/at/all", one_of_each_type()));
}

}  // namespace
}  // namespace hivq
