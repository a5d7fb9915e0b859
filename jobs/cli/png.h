#pragma once

// Figures as PNG, painted by Cairo.

#include <string>

#include "common/result.h"
#include "jobs/drawing.h"

namespace hivq::cli {

/// `scale`: pixels of the image for one of the drawing. Errors: the file cannot be written.
Status write_png(const Drawing& drawing, const std::string& path, double scale = 2);

}  // namespace hivq::cli
