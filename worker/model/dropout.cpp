#include "worker/model/dropout.h"

#include <torch/torch.h>

#include <cmath>

#include "common/result.h"

namespace hivq {
namespace {

constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;  // Salmon et al., table 2
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

// The elements of an image are masked in chunks of 256: 32 blocks of 4 words of 2 halves. Element j of a chunk takes
// block j % 32, word (j / 32) % 4, half j / 128, so that neighbouring elements lie in neighbouring vector lanes.
constexpr int64_t kLanes = 32, kWords = 4, kHalves = 2;
constexpr int64_t kChunk = kLanes * kWords * kHalves;
constexpr double kHalfRange = 65536;

struct Mask {
  uint32_t threshold;  // a 16-bit half below it drops its element
  double scale;        // of the elements that stay
};
Mask mask_of(double rate) {
  const double threshold = std::round(rate * kHalfRange);
  return {static_cast<uint32_t>(threshold), kHalfRange / (kHalfRange - threshold)};
}

/// The counter of block 0 of an image, and the key.
struct Stream {
  uint32_t image, step, site, key0, key1;
};

#define HIVQ_VECTOR_CLONES
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#undef HIVQ_VECTOR_CLONES
#define HIVQ_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

/// Blocks [first, first + 32) of a stream: words[w][lane].
[[gnu::always_inline]] inline void philox_blocks(const Stream& stream, uint32_t first, uint32_t (&words)[4][kLanes]) {
  for (int64_t i = 0; i < kLanes; ++i) {
    words[0][i] = first + static_cast<uint32_t>(i);
    words[1][i] = stream.image;
    words[2][i] = stream.step;
    words[3][i] = stream.site;
  }
  uint32_t key0 = stream.key0, key1 = stream.key1;
  for (int round = 0; round < kRounds; ++round) {
    for (int64_t i = 0; i < kLanes; ++i) {
      const uint64_t product0 = uint64_t{words[0][i]} * kMultiply0;
      const uint64_t product1 = uint64_t{words[2][i]} * kMultiply1;
      words[0][i] = static_cast<uint32_t>(product1 >> 32) ^ words[1][i] ^ key0;
      words[1][i] = static_cast<uint32_t>(product1);
      words[2][i] = static_cast<uint32_t>(product0 >> 32) ^ words[3][i] ^ key1;
      words[3][i] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
}

template <typename T>
[[gnu::always_inline]] inline void mask_chunk(const uint32_t (&words)[4][kLanes], const Mask& mask, const T* in,
                                              T* out) {
  const T scale = static_cast<T>(mask.scale);
  for (int64_t half = 0; half < kHalves; ++half) {
    for (int64_t w = 0; w < kWords; ++w) {
      const int64_t at = (half * kWords + w) * kLanes;
      for (int64_t i = 0; i < kLanes; ++i) {
        const uint32_t bits = (words[w][i] >> (16 * half)) & 0xffff;
        out[at + i] = in[at + i] * (bits < mask.threshold ? T(0) : scale);
      }
    }
  }
}

template <typename T>
[[gnu::always_inline]] inline void mask_image(const Stream& stream, const Mask& mask, const T* in, T* out,
                                              int64_t count) {
  uint32_t words[4][kLanes];
  int64_t at = 0;
  for (; at + kChunk <= count; at += kChunk) {
    philox_blocks(stream, static_cast<uint32_t>(at / kChunk * kLanes), words);
    mask_chunk(words, mask, in + at, out + at);
  }
  if (at == count) return;
  T rest[kChunk] = {};
  std::copy(in + at, in + count, rest);
  philox_blocks(stream, static_cast<uint32_t>(at / kChunk * kLanes), words);
  mask_chunk(words, mask, rest, rest);
  std::copy(rest, rest + (count - at), out + at);
}

// target_clones does not take templates.
HIVQ_VECTOR_CLONES void mask_floats(const Stream& stream, const Mask& mask, const float* in, float* out,
                                    int64_t count) {
  mask_image(stream, mask, in, out, count);
}
HIVQ_VECTOR_CLONES void mask_doubles(const Stream& stream, const Mask& mask, const double* in, double* out,
                                     int64_t count) {
  mask_image(stream, mask, in, out, count);
}

Stream stream_of(const Dropout& dropout, int64_t image) {
  return {static_cast<uint32_t>(dropout.first_image + image), dropout.step, dropout.site,
          static_cast<uint32_t>(dropout.seed), static_cast<uint32_t>(dropout.seed >> 32)};
}

/// x times its mask.
at::Tensor masked(const Dropout& dropout, const at::Tensor& x) {
  if (!x.is_cpu() || (x.scalar_type() != at::kFloat && x.scalar_type() != at::kDouble)) {
    return x * dropout_mask(dropout, x);
  }
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const int64_t images = in.size(0), count = images == 0 ? 0 : in.numel() / images;
  const Mask mask = mask_of(dropout.rate);
  const auto mask_all = [&]<typename T>(const T* from, T* to, auto mask_one) {
    at::parallel_for(0, images, 1 + 32768 / (count + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        mask_one(stream_of(dropout, i), mask, from + i * count, to + i * count, count);
      }
    });
  };
  if (in.scalar_type() == at::kFloat) {
    mask_all(in.const_data_ptr<float>(), out.mutable_data_ptr<float>(), mask_floats);
  } else {
    mask_all(in.const_data_ptr<double>(), out.mutable_data_ptr<double>(), mask_doubles);
  }
  return out;
}

struct MaskFunction : torch::autograd::Function<MaskFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const Dropout& dropout) {
    context->saved_data["rate"] = dropout.rate;
    context->saved_data["numbers"] =
        std::vector<int64_t>{static_cast<int64_t>(dropout.seed), dropout.step, dropout.first_image, dropout.site};
    return masked(dropout, x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const std::vector<int64_t> numbers = context->saved_data["numbers"].toIntVector();
    const Dropout dropout{context->saved_data["rate"].toDouble(), static_cast<uint64_t>(numbers[0]),
                          static_cast<uint32_t>(numbers[1]), numbers[2], static_cast<uint32_t>(numbers[3])};
    return {masked(dropout, gradients[0]), at::Tensor()};
  }
};

}  // namespace

at::Tensor dropout_mask(const Dropout& dropout, const at::Tensor& like) {
  const int64_t images = like.size(0), count = images == 0 ? 0 : like.numel() / images;
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  const auto options = like.options().dtype(at::kLong).requires_grad(false);
  const auto low = [](const at::Tensor& x) { return x.bitwise_and(0xffffffff); };
  const auto high = [&](const at::Tensor& x) { return low(x.bitwise_right_shift(32)); };

  at::Tensor c0 = at::arange(chunks * kLanes, options).view({1, -1}).expand({images, -1});
  at::Tensor c1 = at::arange(images, options).add(dropout.first_image).view({-1, 1}).expand_as(c0);
  at::Tensor c2 = at::full_like(c0, static_cast<int64_t>(dropout.step));
  at::Tensor c3 = at::full_like(c0, static_cast<int64_t>(dropout.site));
  uint32_t key0 = static_cast<uint32_t>(dropout.seed), key1 = static_cast<uint32_t>(dropout.seed >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const at::Tensor product0 = c0 * int64_t{kMultiply0}, product1 = c2 * int64_t{kMultiply1};
    c0 = high(product1).bitwise_xor(c1).bitwise_xor(int64_t{key0});
    c1 = low(product1);
    c2 = high(product0).bitwise_xor(c3).bitwise_xor(int64_t{key1});
    c3 = low(product0);
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  const at::Tensor words = at::stack({c0, c1, c2, c3}, 1).view({images, kWords, chunks, kLanes}).permute({0, 2, 1, 3});
  const at::Tensor halves = at::stack({words.bitwise_and(0xffff), words.bitwise_right_shift(16)}, 2);
  const Mask mask = mask_of(dropout.rate);
  return halves.reshape({images, -1})
      .narrow(1, 0, count)
      .ge(static_cast<int64_t>(mask.threshold))
      .to(like.scalar_type())
      .mul(mask.scale)
      .reshape(like.sizes());
}

at::Tensor Dropout::operator()(const at::Tensor& x) {
  if (rate == 0) return x;
  check(rate > 0 && rate < 1, "a dropout rate lies in [0, 1)");
  const at::Tensor out = MaskFunction::apply(x, *this);
  ++site;
  return out;
}

}  // namespace hivq
