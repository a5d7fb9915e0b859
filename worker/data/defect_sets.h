#pragma once

// Data sets of image files with defects within each class, in three layouts. Errors name the file, and in a list the
// line, with the remedy.

#include "worker/data/image_set.h"

namespace hivq {

/// MVTec-AD's folders, or one's own in this layout: <class>/train/good/*, <class>/test/<good or a defect>/* and
/// <class>/ground_truth/<defect>/<stem>_mask.png. A folder without any ground_truth has no masks. Files that are not
/// named as images (.png .jpg .jpeg .bmp .tif .tiff) are passed over. Source: Bergmann et al., 2019.
Result<ImageSet> load_mvtec(const DataSpec& data);

/// VisA with the one-class split of its split_csv/1cls.csv. Source: Zou et al., 2022,
/// github.com/amazon-science/spot-diff.
Result<ImageSet> load_visa(const DataSpec& data);

/// Lists as UniAD's, one JSON object a line: {"filename", "label" 0 or 1, "clsname", "maskname"}. Without a clsname the
/// filename's first folder is the class. A defective image without a maskname counts as wholly defective, as UniAD has
/// it; where no defective image has one, the set has no masks.
Result<ImageSet> load_json_lines(const DataSpec& data);

}  // namespace hivq
