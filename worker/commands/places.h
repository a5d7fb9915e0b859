#pragma once

// Where a worker finds the backbones' weights and keeps features: one pair of options for every command.

#include "worker/data/feature_set.h"

namespace CLI {
class App;
}

namespace hivq {

/// The weights that set-up fetched, and the user's cache folder.
FeaturePlaces default_places();

/// Adds --weights and --cache.
void add_places(CLI::App& app, FeaturePlaces& places);

}  // namespace hivq
