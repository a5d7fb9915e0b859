#pragma once

// Values as msgpack maps. Unknown fields are ignored and missing ones keep their defaults, so that neighbouring versions
// of the programs understand each other. The only door to msgpack.

#include <algorithm>
#include <msgpack.hpp>
#include <string>
#include <string_view>

#include "common/result.h"

/// Lists a struct's fields for the wire: `HIVQ_FIELDS(trial, epoch)`.
#define HIVQ_FIELDS(...) MSGPACK_DEFINE_MAP(__VA_ARGS__)

namespace hivq {

template <typename T>
std::string pack(const T& value) {
  msgpack::sbuffer buffer;
  msgpack::pack(buffer, value);
  return std::string(buffer.data(), buffer.size());
}

/// Reads a packed value. Errors: the bytes are no msgpack, or a field has another type.
template <typename T>
Result<T> unpack(std::string_view bytes) {
  try {
    // The bytes may come from anyone who can reach the port: nothing may claim to be longer than they are (memory is
    // taken for what a header claims), and deep nesting is refused.
    size_t most = std::min<size_t>(bytes.size(), 1 << 20);
    auto handle = msgpack::unpack(
        bytes.data(), bytes.size(), [](msgpack::type::object_type, size_t, void*) { return true; }, nullptr,
        msgpack::unpack_limit(most, most, bytes.size(), bytes.size(), bytes.size(), 16));
    return handle->template as<T>();
  } catch (const std::exception& e) {
    return error("malformed message of {} bytes: {}", bytes.size(), e.what());
  }
}

}  // namespace hivq
