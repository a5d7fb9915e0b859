#pragma once

#include <string>
#include <string_view>

namespace hivq {

/// Two lower-case hexadecimal digits a byte.
std::string hex_text(std::string_view bytes);
/// SHA-256 of the bytes as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace hivq
