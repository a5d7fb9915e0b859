#pragma once

// Gangs across several hosts: mpirun over ssh.

#include <memory>
#include <vector>

#include "cluster/launcher.h"

namespace hivq {

/// The part of the hosts that a new gang has for itself: no slot that another gang has. One host where one can take all
/// ranks, otherwise the free slots in the hosts' order. `last`: hosts that are taken only where the others have too
/// few, in this order. Errors: too few slots are free.
Result<std::vector<HostSlots>> slice_of(const std::vector<HostSlots>& hosts, const std::vector<HostSlots>& taken,
                                        uint64_t ranks, const std::vector<std::string>& last = {});

/// The hosts of which ssh and mpirun complain in a gang's output.
std::vector<std::string> blamed_hosts(const std::vector<HostSlots>& slice, const std::string& output);

std::unique_ptr<Launcher> make_hostfile_launcher(const Pool& pool, const HostfilePool& hostfile,
                                                 const LauncherOptions& options);

}  // namespace hivq
