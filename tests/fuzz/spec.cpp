// Specifications: any text is a job or has mistakes that name the file, and a job is the same after it was written out.

#include <cstdint>

#include "jobs/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hivq;
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto job = parse_job(text, "fuzz.yaml");
  if (!job) {
    check(job.error().message.find("fuzz.yaml") != std::string::npos, "a mistake names its file");
    return 0;
  }
  const std::string yaml = to_yaml(*job);
  auto again = parse_job(yaml, "written.yaml");
  check(bool(again), again ? "" : again.error().message.c_str());
  check(*again == *job, "a job is the same after it was written and read");
  return 0;
}
