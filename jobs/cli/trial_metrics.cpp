#include "jobs/cli/trial_metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <vector>

#include "jobs/views/format.h"

namespace hivq::cli {

namespace {

using Values = std::map<std::string, double>;
using Parts = std::map<std::string, double>;  // by the part's name
constexpr std::string_view confusion_prefix = "confusion/";
constexpr size_t named_columns = 6;  // of a matrix; more classes are numbered

/// Metrics that share parts, such as all that are measured for each class.
struct Family {
  std::map<std::string, Parts> metrics;
  std::set<std::string> parts;
};

/// As last measured.
Values last_values(const Values& initial, const Values& final) {
  Values last = final;
  last.insert(initial.begin(), initial.end());
  return last;
}

/// Numbers before words, and 2 before 10.
bool part_before(const std::string& a, const std::string& b) {
  auto number = [](const std::string& text) {
    int64_t value = -1;
    auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    return read.ec == std::errc() && read.ptr == text.data() + text.size() ? value : -1;
  };
  const int64_t left = number(a), right = number(b);
  if (left >= 0 && right >= 0) return left < right;
  return (left >= 0) != (right >= 0) ? left >= 0 : a < b;
}

std::vector<std::string> sorted(const std::set<std::string>& parts) {
  std::vector<std::string> list(parts.begin(), parts.end());
  std::sort(list.begin(), list.end(), part_before);
  return list;
}

std::vector<Family> families_of(const Values& last) {
  std::map<std::string, Parts> metrics;
  for (const auto& [name, value] : last) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && !name.starts_with(confusion_prefix)) {
      metrics[name.substr(0, slash)][name.substr(slash + 1)] = value;
    }
  }
  std::vector<Family> families;
  for (const auto& [metric, parts] : metrics) {
    Family joined;
    joined.metrics[metric] = parts;
    for (const auto& [part, value] : parts) joined.parts.insert(part);
    // It joins every family with which it shares a part.
    std::erase_if(families, [&](Family& family) {
      const bool shares = std::any_of(family.parts.begin(), family.parts.end(),
                                      [&](const std::string& part) { return joined.parts.contains(part); });
      if (shares) {
        joined.metrics.merge(family.metrics);
        joined.parts.merge(family.parts);
      }
      return shares;
    });
    families.push_back(std::move(joined));
  }
  return families;
}

Table whole_table(const Values& initial, const Values& final) {
  Table table{{{"metric", Align::left, true}, {"untrained", Align::right}, {"last", Align::right}}, {}};
  auto shown = [](std::optional<double> value) { return value ? number_text(*value) : "–"; };
  for (const auto& [name, value] : last_values(initial, final)) {
    if (name.find('/') != std::string::npos) continue;
    table.rows.push_back({name, shown(value_of(initial, name)), shown(value_of(final, name))});
  }
  return table;
}

Table family_table(const Family& family) {
  Table table{{{"of each", Align::left, true}}, {}};
  int spare = 0;
  for (const auto& [metric, values] : family.metrics) table.columns.push_back({metric, Align::right, false, ++spare});
  for (const std::string& part : sorted(family.parts)) {
    std::vector<Cell> row = {part};
    for (const auto& [metric, values] : family.metrics) {
      auto value = value_of(values, part);
      row.emplace_back(value ? number_text(*value) : "–");
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string count(double value) {
  return std::abs(value) < 1e15 && value == std::floor(value) ? fmt::format("{:.0f}", value) : number_text(value);
}

/// Rows are the true classes; nothing where there is no confusion.
Table confusion_table(const Values& last) {
  std::set<std::string> names;
  std::map<std::pair<std::string, std::string>, double> cells;
  for (auto each = last.lower_bound(std::string(confusion_prefix)); each != last.end(); ++each) {
    if (!each->first.starts_with(confusion_prefix)) break;
    const std::string pair = each->first.substr(confusion_prefix.size());
    const size_t slash = std::min(pair.find('/'), pair.size());
    const std::string truth = pair.substr(0, slash), predicted = pair.substr(std::min(slash + 1, pair.size()));
    cells[{truth, predicted}] = each->second;
    names.insert({truth, predicted});
  }
  const std::vector<std::string> classes = sorted(names);
  const bool numbered = classes.size() > named_columns;
  Table table{{{"true class \\ told", Align::left, true}}, {}};
  for (size_t i = 0; i < classes.size(); ++i) {
    table.columns.push_back({numbered ? std::to_string(i + 1) : classes[i], Align::right, !numbered});
  }
  for (size_t i = 0; i < classes.size(); ++i) {
    std::vector<Cell> row = {numbered ? fmt::format("{:>2} {}", i + 1, classes[i]) : classes[i]};
    for (const std::string& told : classes) {
      auto found = cells.find({classes[i], told});
      const bool right = told == classes[i];
      row.emplace_back(found == cells.end() ? "·" : count(found->second), right ? Tint::bold : Tint::none);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

std::string metrics_text(const Values& initial, const Values& final, const TableStyle& style) {
  const Values last = last_values(initial, final);
  std::vector<Table> tables = {whole_table(initial, final)};
  for (const Family& family : families_of(last)) tables.push_back(family_table(family));
  tables.push_back(confusion_table(final.empty() ? initial : final));  // a pair that does not occur is not stored
  std::string text;
  for (const Table& table : tables) {
    if (table.rows.empty()) continue;
    if (!text.empty()) text += '\n';
    text += render(table, style);
  }
  return text;
}

}  // namespace hivq::cli
