// Messages to the coordinator's core from two strangers, in any order: nothing ends it, what it stores can be read, and a
// core made of that goes on.
//
// An input is a list of: one byte (bit 0: who; bits 1 to 3: seconds that pass before), two bytes length, a message.

#include <cstdint>

#include "coordinator/core.h"
#include "coordinator/snapshot.h"
#include "tests/coordinator/map_store.h"

using namespace hivq;

namespace {

struct Cluster {
  MapStore store;
  Millis now = 1'700'000'000'000;
  std::optional<Core> core;

  void start() {
    auto snapshot = read_snapshot(store);
    check(bool(snapshot), snapshot ? "" : snapshot.error().message.c_str());
    Effects effects;
    core.emplace(CoreOptions{}, std::move(*snapshot), [this](const TrialId& id) { return read_checkpoints(store, id); },
                 now, effects);
    store.commit(effects.writes);
  }
  void step(Input input) {
    Effects effects;
    core->step(input, now, effects);
    store.commit(effects.writes);
    for (const auto& send : effects.sends) check(bool(decode(encode(send.message))), "its answers can be read");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Cluster cluster;
  cluster.start();
  while (size >= 3) {
    const std::string peer = (data[0] & 1) != 0 ? "gang-a" : "gang-b";
    cluster.now += 1000 * (data[0] >> 1 & 7);
    const size_t length = std::min<size_t>(size - 3, data[1] | data[2] << 8);
    auto message = decode({reinterpret_cast<const char*>(data) + 3, length});
    data += 3 + length;
    size -= 3 + length;
    if (!message) continue;
    cluster.step(Received{peer, std::move(*message)});
    cluster.step(Tick{});
  }
  cluster.start();
  cluster.step(Tick{});
  return 0;
}
