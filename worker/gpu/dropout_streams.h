#pragma once

// What a kernel draws dropout's masks from (model/dropout.h). For NVRTC, too: no other header.

namespace hivq {

/// Of trials side by side.
struct DropoutStreams {
  static constexpr int kMost = 128;  // as many as fit an argument of a kernel

  long long images = 0;  // of each trial
  unsigned site = 0;
  unsigned first_image[kMost] = {};
  unsigned key0[kMost] = {}, key1[kMost] = {};
  unsigned threshold[kMost] = {};  // 0: drops nothing
  double scale[kMost] = {};
};

}  // namespace hivq
