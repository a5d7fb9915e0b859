#include "worker/data/image_file.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <random>

#include "worker/data/file.h"
#include "worker/data/safetensors.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
const std::string kGolden = HIVQ_SOURCE_DIR "/tests/worker/golden/";  // by make_images.py
const std::string kImages = kGolden + "images/";

std::map<std::string, at::Tensor> expected_pixels() {
  return load_safetensors(kGolden + "images.safetensors").value().tensors;
}

std::string message_of(const Result<at::Tensor>& image) { return image ? "no error" : image.error().message; }

TEST(ImageFile, ReadsEveryKindOfImageAsPillowDoes) {
  int images = 0;
  for (const auto& [name, expected] : expected_pixels()) {
    if (expected.dim() != 3) continue;
    ++images;
    const Result<at::Tensor> image = read_image(kImages + name);
    ASSERT_TRUE(image) << image.error().message;
    ASSERT_EQ(image->sizes(), expected.sizes()) << name;
    EXPECT_EQ(image->scalar_type(), at::kByte);
    EXPECT_TRUE(image->is_contiguous()) << name;
    const int64_t off = (image->to(at::kInt) - expected.to(at::kInt)).abs().max().item<int64_t>();
    EXPECT_LE(off, name == "cmyk.tif" ? 1 : 0) << name;  // libtiff rounds down where Pillow rounds
    const Result<ImageSize> size = read_image_size(kImages + name);
    ASSERT_TRUE(size) << size.error().message;
    EXPECT_EQ(*size, (ImageSize{expected.size(0), expected.size(1)})) << name;
  }
  EXPECT_GE(images, 40);
}

TEST(ImageFile, AMaskIsWhereAColourIsNotBlackHoweverSmallItsLabel) {
  int masks = 0;
  for (const auto& [name, expected] : expected_pixels()) {
    if (expected.dim() != 2) continue;
    ++masks;
    const Result<at::Tensor> mask = read_mask(kImages + name);
    ASSERT_TRUE(mask) << mask.error().message;
    EXPECT_TRUE(at::equal(*mask, expected)) << name;
  }
  EXPECT_GE(masks, 6);
}

TEST(ImageFile, GoesByContentNotByName) {
  const std::string path = testing::TempDir() + fmt::format("/hivq_renamed_{}.png", ::getpid());
  fs::copy_file(kImages + "rgb-420.jpg", path, fs::copy_options::overwrite_existing);
  EXPECT_TRUE(at::equal(read_image(path).value(), read_image(kImages + "rgb-420.jpg").value()));
  fs::remove(path);
}

TEST(ImageFile, SaysWhatItCannotRead) {
  EXPECT_EQ(message_of(read_image("/nowhere/a.png")), "cannot read /nowhere/a.png: No such file or directory");
  EXPECT_EQ(message_of(read_image("/tmp")), "cannot read /tmp: Is a directory");
  EXPECT_EQ(message_of(decode_image("", "a.png")), "a.png is empty");
  EXPECT_EQ(message_of(decode_image("RIFF....WEBP", "a.png")),
            "a.png is no PNG, JPEG, TIFF or BMP image: it starts with 52494646");
  EXPECT_EQ(
      message_of(read_image(kImages + "float.tif")),
      kImages + "float.tif holds samples of floating point, whose range is unknown; convert them to 8 or 16 bits");
  EXPECT_EQ(message_of(read_image(kImages + "signed.tif")),
            kImages + "signed.tif holds samples of signed 16 bits; convert them to 8 or 16 bits without a sign");
  EXPECT_EQ(message_of(read_image(kImages + "grey32.tif")),
            kImages + "grey32.tif holds samples of 32 bits; convert them to 8 or 16 bits without a sign");
  EXPECT_EQ(message_of(read_image(kImages + "run-length.bmp")),
            kImages + "run-length.bmp is a BMP of 8 bits with compression 1, which is not supported; save it as PNG");
}

TEST(ImageFile, RefusesImpossibleSizesBeforeItTakesMemory) {
  std::string png = read_file(kImages + "rgb8.png").value();
  const auto with_size = [](std::string bytes, size_t at, const std::string& size) {
    return bytes.replace(at, 8, size);
  };
  const std::string zero(8, '\0');
  EXPECT_NE(message_of(decode_image(with_size(png, 16, zero), "a")).find("a is damaged"), std::string::npos);
  const std::string bmp = read_file(kImages + "rgb24.bmp").value();
  EXPECT_EQ(message_of(decode_image(with_size(bmp, 18, zero), "a")),
            "a claims 0 × 0 pixels; an image has 1 to 134217728 pixels");
  const std::string huge("\xff\xff\xff\x7f\xff\xff\xff\x7f", 8);
  EXPECT_EQ(message_of(decode_image(with_size(bmp, 18, huge), "a")),
            "a claims 2147483647 × 2147483647 pixels; an image has 1 to 134217728 pixels");
  std::string jpeg = read_file(kImages + "grey.jpg").value();
  const size_t frame = jpeg.find(std::string("\xff\xc0\x00\x0b\x08", 5));
  ASSERT_NE(frame, std::string::npos);
  EXPECT_EQ(message_of(decode_image(jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc"), "a")),
            "a claims 65500 × 65500 pixels; an image has 1 to 134217728 pixels");
}

TEST(ImageFile, ATruncatedFileIsAnErrorThatNamesIt) {
  for (const auto& [name, expected] : expected_pixels()) {
    const std::string bytes = read_file(kImages + name).value();
    // A TIFF's directory, palette and resolution may stand behind its pixels, and a PNG or JPEG ends with a marker.
    for (const size_t kept : {size_t{3}, size_t{10}, size_t{30}, bytes.size() / 2, bytes.size() * 3 / 4}) {
      const std::string message = message_of(decode_image(bytes.substr(0, kept), "cut"));
      EXPECT_TRUE(message.starts_with("cut ")) << name << " cut to " << kept << " bytes: " << message;
    }
  }
}

TEST(ImageFile, DamagedBytesNeverCrash) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  int refused = 0;
  for (const auto& entry : fs::directory_iterator(kImages)) {
    const std::string whole = read_file(entry.path().string()).value();
    for (int round = 0; round < 60; ++round) {
      std::string bytes = whole;
      const size_t changes = 1 + random() % 8,
                   reach = round % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 64);
      for (size_t i = 0; i < changes; ++i) bytes[random() % reach] = static_cast<char>(random());
      if (round % 5 == 0) bytes.resize(random() % bytes.size());
      const Result<at::Tensor> image = decode_image(bytes, "fuzzed");
      if (image) {
        EXPECT_EQ(image->size(2), 3);
      } else {
        ++refused;
        EXPECT_TRUE(image.error().message.starts_with("fuzzed ")) << image.error().message;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(ImageFile, WritesPngsThatReadBackTheSame) {
  torch::manual_seed(3);
  const std::string path = testing::TempDir() + fmt::format("/hivq_written_{}.png", ::getpid());
  const at::Tensor colours = at::randint(0, 256, {31, 17, 3}, at::kByte);
  ASSERT_TRUE(write_png(path, colours));
  EXPECT_TRUE(at::equal(read_image(path).value(), colours));
  ASSERT_TRUE(write_png(path, colours.transpose(0, 1)));  // not contiguous
  EXPECT_TRUE(at::equal(read_image(path).value(), colours.transpose(0, 1)));
  const at::Tensor grey = at::randint(0, 256, {8, 33}, at::kByte);
  ASSERT_TRUE(write_png(path, grey));
  EXPECT_TRUE(at::equal(read_image(path).value(), grey.unsqueeze(2).repeat({1, 1, 3})));
  EXPECT_EQ(encode_png(grey), encode_png(grey));
  fs::remove(path);
  const Status nowhere = write_png("/nowhere/a.png", grey);
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("/nowhere/a.png"), std::string::npos);
}

}  // namespace
}  // namespace hivq
