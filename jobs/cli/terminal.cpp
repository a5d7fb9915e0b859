#include "jobs/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace hivq::cli {

Terminal terminal_of(int descriptor) {
  if (isatty(descriptor) == 0) return {};
  auto variable = [](const char* name) { return std::string_view(std::getenv(name) ? std::getenv(name) : ""); };
  bool dumb = variable("TERM") == "dumb";
  winsize size{};
  bool known = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {!dumb, !dumb && variable("NO_COLOR").empty(), known ? size.ws_col : size_t{80}};
}

}  // namespace hivq::cli
