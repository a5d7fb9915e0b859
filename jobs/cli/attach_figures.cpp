#include "jobs/cli/attach_figures.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "jobs/cli/commands.h"

namespace hivq::cli {

namespace {

constexpr uint64_t drawn_figures = 2;

Result<std::string> read_png(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) return error("{} cannot be read", path);
  return bytes;
}

/// The names of those that are attached. Errors: the first that cannot be.
Result<std::string> attach(const Where& where, const TrialId& trial, const std::string& folder) {
  auto session = Session::for_reading(where);
  if (!session) return session.error();
  std::string names;
  for (uint64_t figure = 1; figure <= drawn_figures; ++figure) {
    const std::string name = fmt::format("figure{}.png", figure);
    auto png = read_png((std::filesystem::path(folder) / name).string());
    if (!png) return png.error();
    auto attached = session->client().ask<FigureAttached>(AttachFigure{trial, figure, std::move(*png)});
    if (!attached) return attached.error();
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

}  // namespace

void attach_figures(const Where& where, const TrialId& trial, const std::string& folder) {
  const auto names = attach(where, trial, folder);
  if (names) {
    (void)print(fmt::format("attached to trial {}: {}\n", to_string(trial), *names));
  } else {
    fmt::print(stderr, "hivq: the figures are not attached to trial {}: {}\n", to_string(trial), names.error().message);
  }
}

}  // namespace hivq::cli
