#pragma once

// The files that a trial may read: those in allowed folders, and what hivq itself brings (fields that are left empty).

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"

namespace hivq {

/// Folders in which trials may read; nothing: everywhere.
using Roots = std::optional<std::vector<std::string>>;

enum class Links { as_named, followed };  // by the names alone, as the coordinator must; by what they lead to here

/// Whether data.path, data.train_list, data.test_list and backbone.weights lie in one of the folders. Errors: name the
/// field and the remedy.
Status within_roots(const DataSpec& data, const BackboneSpec& backbone, const Roots& roots, Links links);

/// A name leads out of its folder: it is absolute, or climbs.
bool leaves_folder(const std::string& name);

}  // namespace hivq
