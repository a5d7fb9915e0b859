// The precompiled header of every folder without LibTorch.

#include "common/messages.h"
