#pragma once

// What all engines have in common: the worker's command line, and the end of a gang's output.

#include <string>
#include <vector>

#include "cluster/launcher.h"

namespace hivq {

/// `WORKER --coordinator ENDPOINT --launch ID [--cache DIR] --label pool=NAME … [--data-root DIR …]`.
std::vector<std::string> worker_command(const std::string& worker, const std::string& endpoint, const Pool& pool,
                                        const std::string& launch, const std::string& cache, const Roots& roots);

/// DATA/gangs/LAUNCH.log.
std::string gang_log(const std::string& data, const std::string& launch);

/// The last lines of a gang's output, `a | b | c`; empty where there is none. What mpirun says itself stands between
/// lines of dashes, and after what the ranks said: it counts only where they said nothing. Of a line of JSON
/// (--log-json) the message counts.
std::string last_lines(const std::string& path, size_t count);

/// DATA/gangs, made where absent.
Status make_gangs_folder(const std::string& data);

}  // namespace hivq
