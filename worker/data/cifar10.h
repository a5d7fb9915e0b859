#pragma once

#include "worker/data/image_set.h"

namespace hivq {

/// CIFAR-10: ten classes of objects, 32×32 RGB, 50,000 training and 10,000 test images (Krizhevsky, 2009), in the
/// many-class protocol. data.path holds it as it is distributed, binary or for Python, packed or unpacked:
/// data_batch_1.bin … test_batch.bin, or data_batch_1 … test_batch, themselves or in cifar-10-batches-bin or -py, or
/// cifar-10-binary.tar.gz or cifar-10-python.tar.gz. The same images are the same identity in each. Kept in memory
/// (184 MB) as long as the set lives.
Result<ImageSet> load_cifar10(const DataSpec& data);

}  // namespace hivq
