#include "worker/gpu/branch.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <mutex>

namespace hivq {
namespace {

/// A device's other stream.
struct Branch {
  c10::Stream stream;
  bool open = false;  // has work that was not joined
};

std::mutex mutex;

/// Under the mutex.
Branch& branch_of(at::Device device) {
  static std::map<c10::DeviceIndex, Branch> branches;
  const auto found = branches.find(device.index());
  if (found != branches.end()) return found->second;
  const c10::impl::VirtualGuardImpl streams(device.type());
  return branches.emplace(device.index(), Branch{streams.getStreamFromGlobalPool(device)}).first->second;
}

void order(const c10::Stream& before, const c10::Stream& after) {
  c10::Event event(before.device_type());
  event.record(before);
  event.block(after);
}

}  // namespace

void beside(at::Device device, const std::vector<at::Tensor>& uses, const std::function<void()>& work) {
  if (!device.is_cuda()) return work();
  const std::lock_guard lock(mutex);
  Branch& branch = branch_of(device);
  order(c10::impl::VirtualGuardImpl(device.type()).getStream(device), branch.stream);
  branch.open = true;
  for (const at::Tensor& tensor : uses) tensor.record_stream(branch.stream);
  const c10::StreamGuard guard(branch.stream);
  work();
}

void join_beside(at::Device device) {
  if (!device.is_cuda()) return;
  const std::lock_guard lock(mutex);
  Branch& branch = branch_of(device);
  if (!branch.open) return;
  order(branch.stream, c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  branch.open = false;
}

}  // namespace hivq
