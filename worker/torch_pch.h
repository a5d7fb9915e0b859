#pragma once

// The precompiled header of worker/: the only way in for <torch/torch.h>, which costs 15 s to compile.

#include <torch/torch.h>
