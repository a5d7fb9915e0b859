#include "worker/data/torch_file.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <random>

#include "worker/data/file.h"
#include "worker/data/pickle.h"
#include "worker/data/state_dict.h"

namespace hivq {
namespace {

const std::string kGolden = HIVQ_SOURCE_DIR "/tests/worker/golden/";  // make_torch_file_golden.py

std::string golden(const std::string& name) { return read_file(kGolden + name).value(); }

std::string error_of(std::string_view bytes) {
  const auto file = read_state_dict(bytes, "w.pth");
  return file ? "no error" : file.error().message;
}

/// What state_dict() of make_torch_file_golden.py holds.
void expect_the_state_dict(const SafeTensors& file) {
  const at::Tensor values = at::arange(24).to(at::kFloat) / 4;
  const auto expect = [&](const std::string& name, const at::Tensor& expected) {
    ASSERT_TRUE(file.tensors.contains(name)) << name;
    const at::Tensor& got = file.tensors.at(name);
    EXPECT_EQ(got.scalar_type(), expected.scalar_type()) << name;
    EXPECT_TRUE(at::equal(got, expected)) << name;
    EXPECT_TRUE(got.is_contiguous()) << name;
  };
  expect("plain", values.view({2, 3, 4}));
  expect("transposed", values.view({4, 6}).t());
  expect("slice", values.view({4, 6}).slice(0, 1, 3).slice(1, 2, 5));
  expect("same_storage", values.slice(0, 5, 9));
  expect("parameter", values.slice(0, 0, 4));
  expect("scalar", at::scalar_tensor(7, at::kLong));
  expect("empty", at::zeros({0, 3}));
  expect("float64", at::arange(3).to(at::kDouble));
  expect("float16", at::arange(3).to(at::kHalf));
  expect("bfloat16", at::arange(3).to(at::kBFloat16));
  expect("int64", at::arange(3).to(at::kLong));
  expect("int32", at::arange(3).to(at::kInt));
  expect("uint8", at::arange(3).to(at::kByte));
  expect("bool", at::arange(3).to(at::kBool));
  EXPECT_EQ(file.tensors.size(), 14u);
}

TEST(TorchFile, ReadsTheZipFormat) { expect_the_state_dict(load_state_dict(kGolden + "torch_zip.pth").value()); }

TEST(TorchFile, ReadsTheFormatBeforeIt) {
  expect_the_state_dict(load_state_dict(kGolden + "torch_legacy.pth").value());
}

TEST(TorchFile, FindsTheStateDictInACheckpointAndStripsDistributedDataParallelsPrefix) {
  const SafeTensors file = load_state_dict(kGolden + "torch_checkpoint.pth.tar").value();
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_TRUE(at::equal(file.tensors.at("weight"), at::tensor({1.5f, -2.0f}).view({1, 2})));
  EXPECT_TRUE(at::equal(file.tensors.at("bias"), at::tensor({0.25f})));
}

TEST(TorchFile, IsToldByItsBytesNotByItsName) {
  const std::string path = testing::TempDir() + fmt::format("/hivq_torch_file_{}.pth", ::getpid());
  const at::Tensor weight = at::arange(3);
  ASSERT_TRUE(save_safetensors(path, std::vector<NamedTensor>{{"module.weight", weight}}));
  EXPECT_TRUE(at::equal(load_state_dict(path).value().tensors.at("weight"), weight));
  std::filesystem::remove(path);
  EXPECT_EQ(load_state_dict(path).error().message, fmt::format("cannot read {}: No such file or directory", path));
}

TEST(TorchFile, KeepsAPrefixThatNotEveryNameHas) {
  const std::vector<NamedTensor> tensors = {{"module.a", at::ones(1)}, {"b", at::ones(1)}};
  EXPECT_TRUE(read_state_dict(write_safetensors(tensors), "w").value().tensors.contains("module.a"));
}

// Pickles by hand. The first three pickles of an old file: magic number, version 1001, little-endian.
const std::string kMagic("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
const std::string kHead = kMagic + "\x80\2M\xe9\3." + "\x80\2}U\x0dlittle_endian\x88s.";
const std::string kEmptyKeys = "\x80\2].";

/// An old file whose object is this pickle, without storages.
std::string old_file(const std::string& pickle) { return kHead + "\x80\2" + pickle + "." + kEmptyKeys; }

TEST(TorchFile, NamesWhatItRefusesToRun) {
  EXPECT_EQ(error_of(old_file("cposix\nsystem\nU\4true\x85R")),
            "w.pth: it names `posix.system`, which is neither a tensor nor a plain value, and is not run (byte 16 of a "
            "pickle)");
  EXPECT_NE(error_of(old_file("U\10builtinsU\4eval\x93")).find("`builtins.eval`"), std::string::npos);
  EXPECT_NE(error_of(old_file("}U\1aclocalizer\nModel\n)\x81s")).find("`localizer.Model`"), std::string::npos);
}

/// {"t": _rebuild_tensor_v2(("storage", FloatStorage, "0", "cpu", 4), offset, size, stride, False, OrderedDict())} with
/// a storage of four floats behind it.
std::string one_tensor(const std::string& offset, const std::string& size, const std::string& stride) {
  const std::string storage = "(U\7storagectorch\nFloatStorage\nU\0010U\3cpuK\4tQ";
  const std::string tensor = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + "\x89" +
                             "ccollections\nOrderedDict\n)RtR";
  return kHead + "\x80\2}U\1t" + tensor + "s." + "\x80\2](U\0010e." + std::string("\4\0\0\0\0\0\0\0", 8) +
         std::string(16, '\0');
}

TEST(TorchFile, RefusesATensorThatLeavesItsStorage) {
  const std::string k0("K\0", 2);
  EXPECT_EQ(error_of(one_tensor(k0, "K\2K\2\x86", "K\2K\1\x86")), "no error");
  const std::string outside = "w.pth: tensor `t` does not lie within its storage of 4 elements";
  EXPECT_EQ(error_of(one_tensor("K\1", "K\2K\2\x86", "K\2K\1\x86")), outside);
  EXPECT_EQ(error_of(one_tensor(k0, "K\5\x85", "K\1\x85")), outside);
  EXPECT_EQ(error_of(one_tensor(k0, "K\2\x85", "K\4\x85")), outside);
  EXPECT_EQ(error_of(one_tensor(k0, "K\2\x85", "J\xff\xff\xff\xff\x85")), outside);
  EXPECT_EQ(error_of(one_tensor("J\xff\xff\xff\xff", "K\2\x85", "K\1\x85")), outside);
  EXPECT_EQ(error_of(one_tensor(k0, "K\2\x85", "K\1K\1\x86")), outside);
  EXPECT_EQ(error_of(one_tensor(k0, "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", k0 + k0 + "\x86")), outside);
  EXPECT_EQ(
      error_of(one_tensor(k0, "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")),
      outside);
  EXPECT_EQ(error_of(one_tensor(k0, "U\1x", "K\1\x85")), outside);
}

TEST(TorchFile, SaysWhatIsWrongWithADamagedFile) {
  const std::string zip = golden("torch_zip.pth"), old = golden("torch_legacy.pth");
  std::string damaged = zip;
  const size_t data = damaged.find(std::string("\0\0\x80\x3e", 4));  // 0.25f, in a storage
  ASSERT_NE(data, std::string::npos);
  damaged[data + 2] ^= 1;
  const struct {
    std::string bytes, says;
  } cases[] = {
      {zip.substr(0, zip.size() - 1), "truncated"},
      {zip.substr(0, 100), "truncated"},
      {damaged, "in the zip archive is damaged"},
      {old.substr(0, old.size() - 1), "truncated"},
      {old.substr(0, 300), "it is cut short (byte "},
      {kMagic + "\x80\2K\7." + kHead, "no file of torch.save that is known here"},
      {old_file("N"), "it holds no tensors"},
      {old_file("}"), "it holds no tensors"},
      {old_file("}U\1aK\7s"), "it holds no tensors"},
      {old_file("}h\7"), "recalls a value that it never gave"},
      {old_file("}0"), "takes more from its stack than is there"},
      {old_file("}(0"), "takes more from its stack than is there"},
      {old_file("}t"), "takes more from its stack than is there"},
      {old_file("K\1K\2a"), "fills what is no container"},
      {old_file("}(K\1u"), "fills what is no container"},
      {old_file("K\1)R"), "calls what is no function"},
      {old_file("B\xff\xff\xff\xff"), "it is cut short"},
      {old_file("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "it is cut short"},
      {old_file("cno newline"), "it is cut short"},
      {old_file("\xff"), "the opcode 0xff, which is not known here"},
      {old_file(std::string(5'000'000, 'N')), "it holds more than 4000000 values"},
  };
  for (const auto& [bytes, says] : cases) {
    const std::string message = error_of(bytes);
    EXPECT_NE(message.find(says), std::string::npos) << message << "\n  should say: " << says;
    EXPECT_TRUE(message.starts_with("w.pth: ")) << message;
  }
}

TEST(TorchFile, AContainerThatHoldsItselfHasAnEnd) {
  EXPECT_NE(error_of(old_file("}q\1U\12state_dicth\1s")).find("it holds no tensors"), std::string::npos);
  EXPECT_NE(error_of(old_file("]q\1h\1a")).find("it holds no tensors"), std::string::npos);
}

TEST(TorchFile, DeepNestingIsRead) {
  EXPECT_NE(error_of(old_file(std::string(1'000'000, ']') + std::string(999'999, 'a'))).find("it holds no tensors"),
            std::string::npos);
}

TEST(TorchFile, AListThatDoublesItselfDoesNotFillTheMemory) {
  // A set of a list of a thousand, copied again and again by a call of nine bytes.
  std::string pickle = "](" + std::string(1000, 'N') + "eq\1";
  for (int i = 0; i < 100'000; ++i) pickle += "0c__builtin__\nset\nh\1\x85R";
  EXPECT_NE(error_of(old_file(pickle)).find("it holds more than"), std::string::npos);
}

TEST(TorchFile, EveryCutIsAnErrorOrTheWholeFile) {
  for (const auto* name : {"torch_zip.pth", "torch_legacy.pth", "torch_checkpoint.pth.tar"}) {
    const std::string good = golden(name);
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_FALSE(read_state_dict(std::string_view(good).substr(0, size), "cut")) << name << " " << size;
    }
  }
}

TEST(TorchFile, NeverCrashesOnAChangedFile) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (const auto* name : {"torch_zip.pth", "torch_legacy.pth", "torch_checkpoint.pth.tar"}) {
    const std::string good = golden(name);
    int refused = 0;
    for (int i = 0; i < 20'000; ++i) {
      std::string bytes = good;
      for (uint64_t changes = 1 + random() % 6; changes > 0; --changes) {
        bytes[random() % bytes.size()] =
            static_cast<char>(random() % 3 == 0 ? random() : bytes[random() % bytes.size()]);
      }
      const auto file = read_state_dict(bytes, "fuzz");
      if (file) continue;
      ++refused;
      ASSERT_TRUE(file.error().message.starts_with("fuzz: ")) << file.error().message;
    }
    EXPECT_GT(refused, 1'000) << name;
  }
}

// Protocol 4, with the opcodes that the others do not use.
TEST(Pickle, ReadsAPickleOfProtocol4) {
  // pickle.dumps({"a": [1, -2, 2**40, 2.5], "b": (True, None), "c": {7}}, 4)
  const std::string bytes(
      "\x80\x04\x95\x37\0\0\0\0\0\0\0}\x94(\x8c\x01"
      "a\x94]\x94(K\x01J\xfe\xff\xff\xff\x8a\x06\0\0\0\0\0\x01G@\x04\0\0\0\0\0\0e\x8c\x01"
      "b\x94\x88N\x86\x94\x8c\x01"
      "c\x94\x8f\x94(K\x07\x90u.",
      66);
  const Result<Pickle> pickle = read_pickle(bytes, {}, "p");
  ASSERT_TRUE(pickle) << pickle.error().message;
  EXPECT_EQ(pickle->bytes, bytes.size());
  const PickleNode& root = (*pickle)[pickle->root];
  const PickleNode* a = pickle->find(root, "a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ((*pickle)[a->items.at(0)].integer, 1);
  EXPECT_EQ((*pickle)[a->items.at(1)].integer, -2);
  EXPECT_EQ((*pickle)[a->items.at(2)].integer, int64_t{1} << 40);
  EXPECT_EQ((*pickle)[a->items.at(3)].real, 2.5);
  const PickleNode* b = pickle->find(root, "b");
  EXPECT_EQ((*pickle)[b->items.at(0)].kind, PickleNode::Kind::boolean);
  EXPECT_EQ((*pickle)[b->items.at(1)].kind, PickleNode::Kind::none);
  EXPECT_EQ((*pickle)[pickle->find(root, "c")->items.at(0)].integer, 7);
  EXPECT_EQ(pickle->find(root, "d"), nullptr);
}

}  // namespace
}  // namespace hivq
