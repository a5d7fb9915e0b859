#include "coordinator/points.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace hivq {

namespace {

void put_varint(std::string& bytes, uint64_t number) {
  for (; number >= 0x80; number >>= 7) bytes.push_back(static_cast<char>(number | 0x80));
  bytes.push_back(static_cast<char>(number));
}

class BitWriter {
 public:
  explicit BitWriter(std::string& bytes) : bytes_(bytes) {}
  /// The lowest `count` bits of `bits`; count is 1 to 64.
  void put(uint64_t bits, int count) {
    if (count > free_) {
      const int rest = count - free_;
      put(bits >> rest, free_);
      count = rest;
    }
    const uint64_t mask = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    free_ -= count;
    word_ |= (bits & mask) << free_;
    if (free_ == 0) flush(8);
  }
  ~BitWriter() { flush((64 - free_ + 7) / 8); }

 private:
  void flush(int count) {
    for (int i = 0; i < count; ++i) bytes_.push_back(static_cast<char>(word_ >> (56 - 8 * i)));
    word_ = 0;
    free_ = 64;
  }
  std::string& bytes_;
  uint64_t word_ = 0;
  int free_ = 64;
};

/// Reads bits, zeros beyond the end: whether it went too far is asked once, at the end of a block.
class BitReader {
 public:
  explicit BitReader(std::string_view bytes) : bytes_(bytes) {}
  uint64_t get(int count) {
    if (count > 32) {
      const uint64_t high = get(count - 32);
      return high << 32 | get(32);
    }
    while (filled_ < count) {
      const uint64_t byte = at_ < bytes_.size() ? static_cast<unsigned char>(bytes_[at_]) : 0;
      ++at_;
      word_ = word_ << 8 | byte;
      filled_ += 8;
    }
    filled_ -= count;
    return word_ >> filled_ & ((uint64_t{1} << count) - 1);
  }
  size_t used() const { return at_; }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  uint64_t word_ = 0;
  int filled_ = 0;
};

// ---- Steps: 4.1.1 ----

struct DeltaCode {
  int prefix_bits;
  uint64_t prefix;
  int bits;  // of the value, from -2^(bits-1) + 1 to 2^(bits-1)
};
constexpr DeltaCode delta_codes[] = {{2, 0b10, 7}, {3, 0b110, 9}, {4, 0b1110, 12}, {4, 0b1111, 64}};

void put_delta(BitWriter& out, int64_t change) {
  if (change == 0) return out.put(0, 1);
  for (const auto& code : delta_codes) {
    const int64_t bound = code.bits == 64 ? 0 : int64_t{1} << (code.bits - 1);
    if (code.bits != 64 && (change <= -bound || change > bound)) continue;
    out.put(code.prefix, code.prefix_bits);
    return out.put(static_cast<uint64_t>(change + (code.bits == 64 ? 0 : bound - 1)), code.bits);
  }
}

int64_t get_delta(BitReader& in) {
  if (in.get(1) == 0) return 0;
  int ones = 1;
  while (ones < 4 && in.get(1) == 1) ++ones;
  const int bits = delta_codes[ones - 1].bits;
  const auto raw = static_cast<int64_t>(in.get(bits));
  return bits == 64 ? raw : raw - (int64_t{1} << (bits - 1)) + 1;
}

// ---- Values: 4.1.2 ----

struct Window {
  int leading = 64, length = 0;  // of the meaningful bits of the last XOR that said so
  bool holds(uint64_t bits) const {
    return length > 0 && std::countl_zero(bits) >= leading && std::countr_zero(bits) >= 64 - leading - length;
  }
};

void put_value(BitWriter& out, uint64_t different, Window& window) {
  if (different == 0) return out.put(0, 1);
  if (window.holds(different)) {
    out.put(0b10, 2);
    return out.put(different >> (64 - window.leading - window.length), window.length);
  }
  window.leading = std::min(std::countl_zero(different), 31);
  window.length = 64 - window.leading - std::countr_zero(different);
  out.put(0b11, 2);
  out.put(static_cast<uint64_t>(window.leading), 5);
  out.put(static_cast<uint64_t>(window.length - 1), 6);
  out.put(different >> (64 - window.leading - window.length), window.length);
}

/// False where the bits cannot be.
bool get_value(BitReader& in, uint64_t& value, Window& window) {
  if (in.get(1) == 0) return true;
  if (in.get(1) == 1) {
    window.leading = static_cast<int>(in.get(5));
    window.length = static_cast<int>(in.get(6)) + 1;
  }
  if (window.length == 0 || window.leading + window.length > 64) return false;
  value ^= in.get(window.length) << (64 - window.leading - window.length);
  return true;
}

bool get_varint(std::string_view& bytes, uint64_t& number) {
  number = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    number |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

/// Takes the first block away and appends its points; false where there is none.
bool take_block(std::string_view& bytes, std::vector<MetricPoint>& points) {
  uint64_t count = 0, first = 0;
  if (!get_varint(bytes, count) || !get_varint(bytes, first)) return false;
  constexpr auto largest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  // A point takes 2 bits at least: nothing may claim to hold more than there is.
  if (count == 0 || first > largest || count > 4 * bytes.size()) return false;
  BitReader in(bytes);
  auto step = static_cast<int64_t>(first);
  uint64_t bits = in.get(64);
  int64_t delta = 0;
  Window window;
  const size_t needed = points.size() + count;
  if (needed > points.capacity())
    points.reserve(std::max(needed, 2 * points.capacity()));  // many blocks have one point
  points.push_back({step, std::bit_cast<double>(bits)});
  for (uint64_t i = 1; i < count; ++i) {
    delta = static_cast<int64_t>(static_cast<uint64_t>(delta) + static_cast<uint64_t>(get_delta(in)));
    if (delta <= 0 || step > std::numeric_limits<int64_t>::max() - delta) return false;
    step += delta;
    if (!get_value(in, bits, window)) return false;
    points.push_back({step, std::bit_cast<double>(bits)});
  }
  if (in.used() > bytes.size()) return false;
  bytes.remove_prefix(in.used());
  return true;
}

}  // namespace

void sort_points(std::vector<MetricPoint>& points) {
  const auto falls = [](const MetricPoint& a, const MetricPoint& b) { return a.step >= b.step; };
  if (std::ranges::adjacent_find(points, falls) == points.end()) return;
  std::ranges::stable_sort(points, {}, &MetricPoint::step);
  size_t kept = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    if (i + 1 == points.size() || points[i + 1].step != points[i].step) points[kept++] = points[i];
  }
  points.resize(kept);
}

std::string encode_points(std::span<const MetricPoint> points) {
  std::string bytes;
  if (points.empty()) return bytes;
  bytes.reserve(12 + points.size() * 9);
  put_varint(bytes, points.size());
  put_varint(bytes, static_cast<uint64_t>(points.front().step));
  BitWriter out(bytes);
  auto bits = std::bit_cast<uint64_t>(points.front().value);
  out.put(bits, 64);
  int64_t delta = 0;
  Window window;
  for (size_t i = 1; i < points.size(); ++i) {
    const int64_t next_delta = points[i].step - points[i - 1].step;
    put_delta(out, next_delta - delta);
    delta = next_delta;
    const auto next = std::bit_cast<uint64_t>(points[i].value);
    put_value(out, bits ^ next, window);
    bits = next;
  }
  return bytes;
}

Result<std::vector<MetricPoint>> decode_points(std::string_view blocks) {
  std::vector<MetricPoint> points;
  const size_t size = blocks.size();
  while (!blocks.empty()) {
    const size_t at = size - blocks.size();
    if (!take_block(blocks, points)) return error("no block of points at byte {} of {}", at, size);
  }
  sort_points(points);
  return points;
}

std::string merge_points(std::span<const std::string_view> rows) {
  std::vector<MetricPoint> points;
  for (std::string_view row : rows) {
    while (!row.empty()) {
      if (take_block(row, points)) continue;
      std::string all;
      for (std::string_view each : rows) all += each;
      return all;
    }
  }
  sort_points(points);
  return encode_points(points);
}

}  // namespace hivq
