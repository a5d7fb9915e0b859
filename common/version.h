#pragma once

namespace hivq {

inline constexpr const char* version = HIVQ_VERSION;

}  // namespace hivq
