#include "jobs/cli/topics.h"

#include <algorithm>
#include <regex>

#include "jobs/table.h"

#define HIVQ_EMBEDDED(symbol, name) extern "C" const char symbol[], symbol##_end[];
#include <hivq_topics.inc>  // by CMake: cmake/Embed.cmake
#undef HIVQ_EMBEDDED

namespace hivq::cli {

namespace {

constexpr std::pair<std::string_view, std::string_view> kAbout[] = {
    {"tutorial", "five minutes from a folder of images to a heat map"},
    {"jobs", "the job file, field by field, and all commands"},
    {"search", "searchers, early stopping, several metrics, constraints"},
    {"scheduling", "how a trial gets a gang: priorities, shares, limits, preemption"},
    {"clusters", "where gangs come from"},
    {"dashboard", "the dashboard, the REST API, Prometheus"},
    {"python", "the Python client and its exports"},
    {"model", "the model, from equation to line to test"},
};

std::string dressed(const std::string& line, bool colour) {
  static const std::regex picture(R"(!\[[^\]]*\]\([^)]*\))"), link(R"(\[([^\]]+)\]\([^)]*\))"),
      bold(R"(\*\*([^*]+)\*\*)"), code(R"(`([^`]+)`)");
  std::string text = std::regex_replace(std::regex_replace(line, picture, ""), link, "$1");
  if (!colour) return text;
  text = std::regex_replace(text, bold, tinted("$1", Tint::bold, true));
  return std::regex_replace(text, code, tinted("$1", Tint::accent, true));
}

}  // namespace

const std::vector<Topic>& topics() {
  static const std::vector<Topic> all = [] {
    std::vector<Topic> found;
#define HIVQ_EMBEDDED(symbol, name) found.push_back({name, "", {symbol, static_cast<size_t>(symbol##_end - symbol)}});
#include <hivq_topics.inc>
#undef HIVQ_EMBEDDED
    std::vector<Topic> ordered;
    for (const auto& [name, about] : kAbout) {
      const auto topic = std::ranges::find(found, name, &Topic::name);
      if (topic != found.end()) ordered.push_back({name, about, topic->text});
    }
    return ordered;
  }();
  return all;
}

const Topic* find_topic(std::string_view name) {
  const auto found = std::ranges::find(topics(), name, &Topic::name);
  return found == topics().end() ? nullptr : &*found;
}

std::string terminal_text(std::string_view markdown, bool colour) {
  std::string text;
  bool fenced = false;
  while (!markdown.empty()) {
    const size_t end = std::min(markdown.find('\n'), markdown.size());
    const std::string line(markdown.substr(0, end));
    markdown.remove_prefix(std::min(end + 1, markdown.size()));
    if (line.starts_with("```")) {
      fenced = !fenced;
      continue;
    }
    const bool code = fenced || line.starts_with("    ");
    if (code) {
      text += tinted(line, Tint::accent, colour) + '\n';
    } else if (line.starts_with('#')) {
      const std::string heading = dressed(line.substr(std::min(line.find_first_not_of("# "), line.size())), false);
      text += colour ? tinted(heading, Tint::bold, true) + '\n' : line + '\n';
    } else {
      text += dressed(line, colour) + '\n';
    }
  }
  return text;
}

}  // namespace hivq::cli
