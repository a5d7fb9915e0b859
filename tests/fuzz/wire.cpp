// Bytes from the network: whatever they are, decode() takes them or says why not, and what it takes it can say again.

#include <cstdint>

#include "common/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hivq;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto message = decode(bytes)) {
    const std::string again = encode(*message);
    auto same = decode(again);
    check(bool(same), "what encode() wrote can be read");
    check(encode(*same) == again, "reading and writing keeps a message");
  } else {
    check(!message.error().message.empty(), "a refusal has a reason");
  }
  if (auto item = unpack_item(bytes)) {
    const std::string again = pack_item(*item);
    auto same = unpack_item(again);
    check(same && pack_item(*same) == again, "reading and writing keeps an item");
  }
  return 0;
}
