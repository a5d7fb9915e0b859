#include "coordinator/policy.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include "jobs/yaml_entries.h"
#include "jobs/yaml_tree.h"

namespace hivq {

namespace {

/// Collects mistakes, each `where: sentence`.
class PolicyReader {
 public:
  Policy policy;

  void read(const YamlNode& root) {
    each_entry(root, "the policy", [&](const std::string& key, const YamlNode& key_node, const YamlNode& value) {
      if (key == "half_life_hours") return read_time(value, key, 3'600'000, 1, policy.half_life);
      if (key == "reserve_seconds") return read_time(value, key, 1000, 0, policy.reserve_after);
      if (key == "preempt_seconds") return read_time(value, key, 1000, 0, policy.preempt_after);
      if (key == "min_run_seconds") return read_time(value, key, 1000, 0, policy.min_run);
      if (key == "preempt") return read_flag(value, key, policy.preempt);
      if (key == "projects") return read_allowances(value, key, policy.projects);
      if (key == "users") return read_allowances(value, key, policy.users);
      mistake(key_node,
              fmt::format("{} is an unknown key; there are half_life_hours, reserve_seconds, preempt, preempt_seconds, "
                          "min_run_seconds, projects, users",
                          shown(key)));
    });
  }

  Result<Policy> result() {
    if (mistakes_.empty()) return policy;
    return Error{fmt::format("{}", fmt::join(mistakes_, "\n"))};
  }

 private:
  void mistake(const YamlNode& at, const std::string& sentence) { mistakes_.push_back(at.where + ": " + sentence); }

  /// Calls read(key, key's node, value) for each entry of a map, each key once.
  template <typename Read>
  void each_entry(const YamlNode& node, const std::string& name, const Read& read) {
    if (node.kind == YamlNode::Kind::null) return;
    hivq::each_entry(node, name, read, [this](const YamlNode& at, const std::string& what) { mistake(at, what); });
  }

  std::optional<double> read_number(const YamlNode& node, const std::string& name, double low, double high) {
    double number = 0;
    const char* end = node.text.data() + node.text.size();
    const bool scalar = node.kind == YamlNode::Kind::scalar && !node.quoted && !node.text.empty();
    if (!scalar || std::from_chars(node.text.data(), end, number).ptr != end || !std::isfinite(number)) {
      mistake(node, fmt::format("{} is {}; it must be a number", name, shown(node)));
    } else if (number < low || number > high) {
      mistake(node, fmt::format("{} is {}; it must be {:g} to {:g}", name, shown(node), low, high));
    } else {
      return number;
    }
    return std::nullopt;
  }

  std::optional<int64_t> read_whole(const YamlNode& node, const std::string& name, double low, double high) {
    auto number = read_number(node, name, low, high);
    if (!number) return std::nullopt;
    if (*number == std::floor(*number)) return static_cast<int64_t>(*number);
    mistake(node, fmt::format("{} is {}; it must be a whole number", name, shown(node)));
    return std::nullopt;
  }

  void read_time(const YamlNode& node, const std::string& name, double unit, double low, Millis& time) {
    constexpr double longest = 1e6;  // of either unit
    if (auto number = read_number(node, name, low / unit, longest)) time = static_cast<Millis>(*number * unit);
  }

  void read_flag(const YamlNode& node, const std::string& name, bool& flag) {
    if (node.kind != YamlNode::Kind::scalar || (node.text != "true" && node.text != "false")) {
      return mistake(node, fmt::format("{} is {}; it must be true or false", name, shown(node)));
    }
    flag = node.text == "true";
  }

  void read_allowances(const YamlNode& node, const std::string& name, std::map<std::string, Allowance>& allowances) {
    each_entry(node, name, [&](const std::string& key, const YamlNode&, const YamlNode& value) {
      Allowance& allowance = allowances[key];
      const std::string where = fmt::format("{}.{}", name, shown(key));
      each_entry(value, where, [&](const std::string& field, const YamlNode& field_node, const YamlNode& given) {
        const std::string full = where + "." + field;
        if (field == "weight") {
          if (auto weight = read_number(given, full, 1e-6, 1e6)) allowance.weight = *weight;
        } else if (field == "max_ranks") {
          if (auto ranks = read_whole(given, full, 0, 1e9)) allowance.max_ranks = static_cast<uint64_t>(*ranks);
        } else if (field == "max_priority") {
          auto priority = read_whole(given, full, -static_cast<double>(most_priority), most_priority);
          if (priority) allowance.max_priority = *priority;
        } else {
          mistake(field_node, fmt::format("{} is an unknown key; there are weight, max_ranks, max_priority", full));
        }
      });
    });
  }

  std::vector<std::string> mistakes_;
};

}  // namespace

const Allowance& Policy::named(const std::map<std::string, Allowance>& all, const std::string& name) {
  static const Allowance unlimited;
  auto found = all.find(name);
  if (found == all.end()) found = all.find("*");
  return found == all.end() ? unlimited : found->second;
}

Status Policy::allows(const std::string& user, const std::string& project, int64_t priority) const {
  const int64_t user_most = of_user(user).max_priority, project_most = of_project(project).max_priority;
  if (priority <= std::min(user_most, project_most)) return {};
  return error("priority is {}; {} may use at most {}: lower it, or ask for a higher max_priority in the policy",
               priority, user_most < project_most ? "user " + user : "project " + project,
               std::min(user_most, project_most));
}

Result<Policy> parse_policy(const std::string& text, const std::string& file) {
  auto root = parse_yaml(text, file, true);
  if (!root) return root.error();
  PolicyReader reader;
  reader.read(*root);
  return reader.result();
}

Result<Policy> read_policy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error("cannot read the policy {}: {}; name another with --policy", path, std::strerror(errno));
  return parse_policy({std::istreambuf_iterator<char>(file), {}}, path);
}

}  // namespace hivq
