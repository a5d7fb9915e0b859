// Rows of curves: damaged ones are refused or kept as they are, whole ones are kept bit by bit.

#include <bit>
#include <cstdint>

#include "coordinator/points.h"

using namespace hivq;

namespace {

bool equal(const std::vector<MetricPoint>& a, const std::vector<MetricPoint>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const MetricPoint& x, const MetricPoint& y) {
    return x.step == y.step && std::bit_cast<uint64_t>(x.value) == std::bit_cast<uint64_t>(y.value);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto points = decode_points(bytes);
  if (points) {
    auto again = decode_points(encode_points(*points));
    check(again && equal(*points, *again), "what was read can be written and read");
  }
  const std::string_view halves[] = {bytes.substr(0, size / 2), bytes.substr(size / 2)};
  const std::string merged = merge_points(halves);
  auto joined = decode_points(merged);
  if (decode_points(halves[0]) && decode_points(halves[1])) check(bool(joined), "whole pieces make a whole row");
  if (points && joined) check(equal(*points, *joined), "pieces hold what the row of all holds");
  return 0;
}
