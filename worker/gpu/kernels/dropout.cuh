// Dropout, with the masks of model/dropout.cpp

struct Words {
  unsigned a, b, c, d;
  // Of element 32 i of the block's eight.
  __device__ unsigned half(int i) const {
    const unsigned even = i & 2 ? c : a, odd = i & 2 ? d : b, word = i & 1 ? odd : even;
    return i & 4 ? word >> 16 : word & 0xffffu;
  }
};

// Not inlined: where a loop over a row is unrolled, ten rounds in each of its steps fill the instructions' cache.
__device__ __noinline__ Words philox(unsigned block, unsigned image, unsigned step, unsigned site, unsigned key0,
                                     unsigned key1) {
  Words word{block, image, step, site};
  for (int round = 0; round < 10; ++round) {
    const unsigned long long first = word.a * 0xD2511F53ull, second = word.c * 0xCD9E8D57ull;
    word = {(unsigned)(second >> 32) ^ word.b ^ key0, (unsigned)second, (unsigned)(first >> 32) ^ word.d ^ key1,
            (unsigned)first};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return word;
}

// The factors of elements of one image. Those of a Philox block should be asked for one after another.
template <typename T>
struct Factors {
  unsigned image, step, site, key0, key1, threshold;
  unsigned drawn = 0xffffffffu;
  T scale;
  Words words;

  __device__ Factors(const DropoutStreams& streams, unsigned of_image, const long long* at_step) {
    const unsigned images = (unsigned)streams.images, trial = of_image / images;
    image = streams.first_image[trial] + of_image % images;
    threshold = streams.threshold[trial];
    step = threshold == 0 ? 0 : (unsigned)*at_step;
    site = streams.site, key0 = streams.key0[trial], key1 = streams.key1[trial];
    scale = (T)streams.scale[trial];
  }
  __device__ T operator()(unsigned element) {
    if (threshold == 0) return 1;
    const unsigned block = element / 256 * 32 + element % 32;
    if (block != drawn) words = philox(block, image, step, site, key0, key1);
    drawn = block;
    return words.half((int)(element / 32 % 8)) < threshold ? 0 : scale;
  }
};

// A thread takes the 8 elements of one Philox block of an image [count]. `blocks`: of an image.
template <typename T, typename Low, bool kRelu>
__device__ void drop_block(const Low* in, Low* out, long long count, long long blocks, long long images,
                           const DropoutStreams& streams, const long long* step) {
  const unsigned thread = thread_of_grid(), image = thread / (unsigned)blocks, block = thread % (unsigned)blocks;
  if (image >= images) return;
  Factors<T> factors(streams, image, step);
  const int begin = (int)(block / 32 * 256 + block % 32);
  Held<T, 8> held;
  held.load(in + image * count, begin, count);
  held.each(begin, count, [&](T x, int, int at) {
    put(out + image * count + at, (kRelu && x <= 0 ? 0 : x) * factors((unsigned)at));
  });
}

template <typename T, typename Low>
__global__ void dropout(const Low* in, Low* out, long long count, long long blocks, long long images,
                        DropoutStreams streams, const long long* step) {
  drop_block<T, Low, false>(in, out, count, blocks, images, streams, step);
}

template <typename T, typename Low>
__global__ void relu_dropout(const Low* in, Low* out, long long count, long long blocks, long long images,
                             DropoutStreams streams, const long long* step) {
  drop_block<T, Low, true>(in, out, count, blocks, images, streams, step);
}

// What the mask dropped is 0 in `out`, as what the ReLU did. A row of blocks a trial.
template <typename T, typename Low>
__global__ void relu_dropout_backward(const Low* g, const Low* out, Low* to, long long of_trial,
                                      DropoutStreams streams) {
  const T scale = (T)streams.scale[blockIdx.y];
  const long long begin = blockIdx.y * of_trial;
  g += begin, out += begin, to += begin;
  // Four elements of a thread, a grid apart; their memory is asked for at once.
  const long long apart = (long long)gridDim.x * blockDim.x;
  T slope[4], value[4];
  HIVQ_UNROLL
  for (int i = 0; i < 4; ++i) {
    const long long at = thread_of_grid() + i * apart;
    slope[i] = at < of_trial ? (T)g[at] : 0;
    value[i] = at < of_trial ? (T)out[at] : 0;
  }
  HIVQ_UNROLL
  for (int i = 0; i < 4; ++i) {
    const long long at = thread_of_grid() + i * apart;
    if (at < of_trial) put(to + at, value[i] > 0 ? slope[i] * scale : 0);
  }
}
