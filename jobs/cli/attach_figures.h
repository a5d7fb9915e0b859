#pragma once

#include <string>

#include "common/ids.h"
#include "jobs/cli/session.h"

namespace hivq::cli {

/// Attaches figure1.png and figure2.png of a folder to a trial, for its page of the dashboard. They are drawn already,
/// so where that cannot be done it is told in a line and no failure.
void attach_figures(const Where& where, const TrialId& trial, const std::string& folder);

}  // namespace hivq::cli
