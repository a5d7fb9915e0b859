#pragma once

// Items of work dealt to the threads one by one, so that a core that others use too does not hold up the rest.

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace hivq {

/// body(item) for each of the items, each on one thread; they must not depend on each other.
template <typename Body>
void deal(int64_t items, Body body) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(items, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t item; (item = next.fetch_add(1)) < items;) body(item);
  });
}

}  // namespace hivq
