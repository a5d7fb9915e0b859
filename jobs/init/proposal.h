#pragma once

// A specification for one's own images: what suits their number, their size and the machine. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/init/layout.h"

namespace hivq::init {

struct Machine {
  int cpus = 1;
  uint64_t gpus = 0;
  std::vector<std::string> weights;  // files in the folder of the backbones' weights
};

struct Proposal {
  std::string name;  // of the job
  int64_t image_size = 224, epochs = 20, batch_size = 8, ranks = 2;
  std::string backbone;  // efficientnet-lite0
  bool large = false;    // the paper's model and schedule, for GPUs, in place of a small one for CPUs
};

/// Errors: no weights of a backbone.
Result<Proposal> propose(const Dataset& dataset, const Machine& machine);

/// The next multiple of 16 that is an image size: 32 … 1024.
int64_t fitting_size(int64_t pixels);

struct ListFiles {
  std::string train, test;  // absolute
};
/// The specification with comments. `lists` is used where the data set needs them. `command` heads it.
std::string to_yaml(const Dataset& dataset, const Proposal& proposal, const ListFiles& lists,
                    const std::string& command);
/// A list for data.train_list and data.test_list: JSON, an image a line.
std::string list_of(const std::vector<Example>& examples);

/// Classes and counts as a table, then the notes.
std::string describe(const Dataset& dataset);

}  // namespace hivq::init
