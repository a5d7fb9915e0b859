#pragma once

// The docs pages of the folders, compiled in: what `hivq help TOPIC` prints.

#include <string>
#include <string_view>
#include <vector>

namespace hivq::cli {

struct Topic {
  std::string_view name;   // search
  std::string_view about;  // one line
  std::string_view text;   // Markdown
};

const std::vector<Topic>& topics();
/// Nothing: there is none of this name.
const Topic* find_topic(std::string_view name);

/// Markdown as a terminal shows it: headings bold, code coloured, links as their text, pictures left out. Code, lists
/// and tables stay as they are. Without `colour` only links and pictures change.
std::string terminal_text(std::string_view markdown, bool colour);

}  // namespace hivq::cli
