#pragma once

// The precompiled header of all tests without LibTorch.

#include <gtest/gtest.h>

#include "common/pch.h"
