// Our own kernels for GPUs: dropout, with the masks of dropout.cpp. NVRTC compiles them on the machine that they run on
// (kernels.cpp); the tests run them on the CPU, thread by thread.

// A thread draws one block of Philox and applies it to its 8 elements of an image [count]; those of a warp are
// neighbours. `blocks`: of an image.
template <typename T>
__device__ void apply_block(const T* in, T* out, long long count, long long blocks, long long images,
                            unsigned first_image, const long long* step, unsigned site, unsigned key0, unsigned key1,
                            unsigned threshold, T scale) {
  const long long thread = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (thread >= images * blocks) return;
  const long long image = thread / blocks;
  const unsigned block = (unsigned)(thread % blocks);
  unsigned word[4] = {block, first_image + (unsigned)image, (unsigned)*step, site};
  for (int round = 0; round < 10; ++round) {
    const unsigned low0 = word[0] * 0xD2511F53u, high0 = __umulhi(word[0], 0xD2511F53u);
    const unsigned low1 = word[2] * 0xCD9E8D57u, high1 = __umulhi(word[2], 0xCD9E8D57u);
    word[0] = high1 ^ word[1] ^ key0;
    word[1] = low1;
    word[2] = high0 ^ word[3] ^ key1;
    word[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const long long first = block / 32 * 256LL + block % 32;
  in += image * count;
  out += image * count;
  for (int i = 0; i < 8; ++i) {
    const long long at = first + 32 * i;
    if (at >= count) return;
    const unsigned bits = word[i % 4] >> (i / 4 * 16) & 0xffffu;
    out[at] = in[at] * (bits < threshold ? T(0) : scale);
  }
}

extern "C" __global__ void dropout_float(const float* in, float* out, long long count, long long blocks,
                                         long long images, unsigned first_image, const long long* step, unsigned site,
                                         unsigned key0, unsigned key1, unsigned threshold, float scale) {
  apply_block(in, out, count, blocks, images, first_image, step, site, key0, key1, threshold, scale);
}

extern "C" __global__ void dropout_double(const double* in, double* out, long long count, long long blocks,
                                          long long images, unsigned first_image, const long long* step, unsigned site,
                                          unsigned key0, unsigned key1, unsigned threshold, double scale) {
  apply_block(in, out, count, blocks, images, first_image, step, site, key0, key1, threshold, scale);
}
