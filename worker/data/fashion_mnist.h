#pragma once

#include "worker/data/image_set.h"

namespace hivq {

/// Fashion-MNIST: ten classes of clothing, 28×28 grey, 60,000 training and 10,000 test images (Xiao et al., 2017), in
/// the many-class protocol. Debian's package dataset-fashion-mnist puts it where an empty data.path looks. The labels
/// are read at once; the images when the first one is decoded.
Result<ImageSet> load_fashion_mnist(const DataSpec& data);

}  // namespace hivq
