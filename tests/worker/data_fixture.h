#pragma once

// A folder that a test fills with a small data set.

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "worker/data/image_file.h"
#include "worker/data/image_set.h"

namespace hivq {

class DataFolder : public testing::Test {
 protected:
  const std::string folder = testing::TempDir() + fmt::format("hivq_data_{}", ::getpid());
  DataSpec data;

  void SetUp() override {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    data.path = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(folder + "/" + file).parent_path());
    std::ofstream(folder + "/" + file, std::ios::binary) << text;
  }
  /// An image of one grey, or a mask.
  void write_image(const std::string& file, int64_t grey, int64_t height = 8, int64_t width = 12) const {
    write(file, encode_png(at::full({height, width}, grey, at::kByte)));
  }
  /// What load_images() says against the set.
  std::string message() const {
    const Result<ImageSet> set = load_images(data);
    return set ? "no error" : set.error().message;
  }
  ImageSet load() const { return load_images(data).value(); }
};

inline std::vector<std::string> names_of(const std::vector<ImageRecord>& records) {
  std::vector<std::string> names;
  for (const ImageRecord& record : records) names.push_back(record.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace hivq
