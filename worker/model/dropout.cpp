#include "worker/model/dropout.h"

#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/result.h"
#include "worker/gpu/kernels.h"
#include "worker/model/cpu_kernels.h"
#include "worker/model/gpu_dropout.h"
#include "worker/model/vector_clones.h"

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

/// The counter of block 0 of an image, and the key.
struct Stream {
  uint32_t image, step, site, key0, key1;
};

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
[[gnu::always_inline]] inline void mask_chunk(const uint32_t (&words)[4][kLanes], const DropoutMask& mask, const T* in,
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

/// Chunks [chunk, chunk + chunks) of an image.
template <typename T>
[[gnu::always_inline]] inline void mask_chunks_of(const Stream& stream, const DropoutMask& mask, int64_t chunk,
                                                  int64_t chunks, const T* in, T* out) {
  uint32_t words[4][kLanes];
  for (int64_t i = 0; i < chunks; ++i) {
    philox_blocks(stream, static_cast<uint32_t>((chunk + i) * kLanes), words);
    mask_chunk(words, mask, in + i * kChunk, out + i * kChunk);
  }
}

// target_clones does not take templates.
HIVQ_VECTOR_CLONES void mask_chunks(const Stream& stream, const DropoutMask& mask, int64_t chunk, int64_t chunks,
                                    const float* in, float* out) {
  mask_chunks_of(stream, mask, chunk, chunks, in, out);
}
HIVQ_VECTOR_CLONES void mask_chunks(const Stream& stream, const DropoutMask& mask, int64_t chunk, int64_t chunks,
                                    const double* in, double* out) {
  mask_chunks_of(stream, mask, chunk, chunks, in, out);
}

/// x times its mask.
at::Tensor masked(const Dropout& dropout, const at::Tensor& x) {
  if (gpu_kernels_take(x) && dropout.streams.size() <= DropoutStreams::kMost) return gpu_dropout(dropout, x);
  if (!cpu_kernels_take(x)) return x * dropout_mask(dropout, x);
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const int64_t images = in.size(0), count = images == 0 ? 0 : in.numel() / images;
  const MaskSource source(dropout, images);
  const auto mask_all = [&]<typename T>(const T* from, T* to) {
    at::parallel_for(0, images, 1 + 32768 / (count + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) source.apply(i, 0, from + i * count, to + i * count, count);
    });
  };
  if (in.scalar_type() == at::kFloat) {
    mask_all(in.const_data_ptr<float>(), out.mutable_data_ptr<float>());
  } else {
    mask_all(in.const_data_ptr<double>(), out.mutable_data_ptr<double>());
  }
  return out;
}

struct MaskFunction : torch::autograd::Function<MaskFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const Dropout& dropout) {
    context->saved_data["dropout"] = to_value(dropout);
    return masked(dropout, x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {masked(dropout_of(context->saved_data["dropout"]), gradients[0]), at::Tensor()};
  }
};

/// Of one of the streams.
at::Tensor stream_mask(const Dropout& dropout, size_t which, const at::Tensor& like) {
  const DropoutStream& stream = dropout.streams[which];
  const int64_t images = like.size(0), count = images == 0 ? 0 : like.numel() / images;
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  const auto options = like.options().dtype(at::kLong).requires_grad(false);
  const auto low = [](const at::Tensor& x) { return x.bitwise_and(0xffffffff); };
  const auto high = [&](const at::Tensor& x) { return low(x.bitwise_right_shift(32)); };

  at::Tensor c0 = at::arange(chunks * kLanes, options).view({1, -1}).expand({images, -1});
  at::Tensor c1 = at::arange(images, options).add(stream.first_image).view({-1, 1}).expand_as(c0);
  at::Tensor c2 = dropout.step.defined() ? dropout.step.expand_as(c0) : at::full_like(c0, int64_t{stream.step});
  at::Tensor c3 = at::full_like(c0, int64_t{dropout.site});
  uint32_t key0 = static_cast<uint32_t>(stream.seed), key1 = static_cast<uint32_t>(stream.seed >> 32);
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
  const DropoutMask mask = mask_of_rate(stream.rate);
  return halves.reshape({images, -1})
      .narrow(1, 0, count)
      .ge(static_cast<int64_t>(mask.threshold))
      .to(like.scalar_type())
      .mul(mask.scale)
      .reshape(like.sizes());
}

}  // namespace

at::Tensor dropout_mask(const Dropout& dropout, const at::Tensor& like) {
  const std::vector<at::Tensor> parts = like.chunk(static_cast<int64_t>(dropout.streams.size()));
  std::vector<at::Tensor> masks;
  for (size_t i = 0; i < parts.size(); ++i) masks.push_back(stream_mask(dropout, i, parts[i]));
  return masks.size() == 1 ? masks[0] : at::cat(masks);
}

MaskSource::MaskSource(const Dropout& dropout, int64_t images)
    : dropout_(dropout), per_stream_(images / static_cast<int64_t>(dropout.streams.size())) {}

void MaskSource::apply(int64_t image, int64_t first, const float* in, float* out, int64_t count) const {
  apply_parts(image, first, in, out, count);
}
void MaskSource::apply(int64_t image, int64_t first, const double* in, double* out, int64_t count) const {
  apply_parts(image, first, in, out, count);
}

const DropoutStream& MaskSource::stream(int64_t image) const {
  return dropout_.streams[static_cast<size_t>(image / per_stream_)];
}

double MaskSource::scale(int64_t image) const { return mask_of_rate(stream(image).rate).scale; }

/// Whole chunks at once; what begins or ends within one through a copy of it.
template <typename T>
void MaskSource::apply_parts(int64_t image, int64_t first, const T* in, T* out, int64_t count) const {
  const DropoutStream& own = stream(image);
  const Stream stream{static_cast<uint32_t>(own.first_image + image % per_stream_), own.step, dropout_.site,
                      static_cast<uint32_t>(own.seed), static_cast<uint32_t>(own.seed >> 32)};
  const DropoutMask mask = mask_of_rate(own.rate);
  const auto part = [&](int64_t chunk, int64_t begin, int64_t size) {
    T rest[kChunk] = {};
    std::copy_n(in, size, rest + begin);
    mask_chunks(stream, mask, chunk, 1, rest, rest);
    std::copy_n(rest + begin, size, out);
    in += size, out += size, count -= size;
  };
  int64_t chunk = first / kChunk;
  if (first % kChunk != 0) part(chunk++, first % kChunk, std::min(count, kChunk - first % kChunk));
  const int64_t whole = count / kChunk;
  mask_chunks(stream, mask, chunk, whole, in, out);
  in += whole * kChunk, out += whole * kChunk, count -= whole * kChunk;
  if (count > 0) part(chunk + whole, 0, count);
}

std::optional<MaskSource> masks_of(const Dropout& dropout, int64_t images) {
  return dropout.active() ? std::optional<MaskSource>(std::in_place, dropout, images) : std::nullopt;
}

DropoutMask mask_of_rate(double rate) {
  const double threshold = std::round(rate * kHalfRange);
  return {static_cast<uint32_t>(threshold), kHalfRange / (kHalfRange - threshold)};
}

c10::IValue to_value(const Dropout& dropout) {
  std::vector<int64_t> numbers = {dropout.site};
  for (const DropoutStream& stream : dropout.streams) {
    numbers.insert(numbers.end(), {std::bit_cast<int64_t>(stream.rate), static_cast<int64_t>(stream.seed), stream.step,
                                   stream.first_image});
  }
  return c10::ivalue::Tuple::create({c10::IValue(std::move(numbers)), c10::IValue(dropout.step)});
}

Dropout dropout_of(const c10::IValue& value) {
  const auto& parts = value.toTupleRef().elements();
  const std::vector<int64_t> numbers = parts[0].toIntVector();
  Dropout dropout{{}, static_cast<uint32_t>(numbers[0]), parts[1].toTensor()};
  for (size_t i = 1; i < numbers.size(); i += 4) {
    dropout.streams.push_back({std::bit_cast<double>(numbers[i]), static_cast<uint64_t>(numbers[i + 1]),
                               static_cast<uint32_t>(numbers[i + 2]), numbers[i + 3]});
  }
  return dropout;
}

bool Dropout::active() const {
  return std::ranges::any_of(streams, [](const DropoutStream& stream) { return stream.rate > 0; });
}

at::Tensor Dropout::operator()(const at::Tensor& x) {
  if (!active()) return x;
  for (const DropoutStream& stream : streams)
    check(stream.rate >= 0 && stream.rate < 1, "a dropout rate lies in [0, 1)");
  const at::Tensor out = MaskFunction::apply(x, *this);
  ++site;
  return out;
}

}  // namespace hivq
