#include "common/ids.h"

#include <fmt/format.h>

#include <charconv>
#include <random>

namespace hivq {

std::string to_string(const TrialId& id) { return fmt::format("{}/{}", id.job, id.index); }

std::optional<TrialId> parse_trial_id(std::string_view text) {
  TrialId id;
  const char* end = text.data() + text.size();
  auto job = std::from_chars(text.data(), end, id.job);
  if (job.ec != std::errc() || job.ptr == end || *job.ptr != '/') return std::nullopt;
  auto index = std::from_chars(job.ptr + 1, end, id.index);
  if (index.ec != std::errc() || index.ptr != end) return std::nullopt;
  return id;
}

std::string random_id() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}", source(), source());
}

}  // namespace hivq
