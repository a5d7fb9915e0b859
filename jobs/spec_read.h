#pragma once

// From a YAML tree to a job: collects every mistake instead of stopping at the first.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/spec.h"
#include "jobs/spec_fields.h"
#include "jobs/yaml_tree.h"

namespace hivq {

class SpecReader {
 public:
  enum class Wants { job, trial };
  explicit SpecReader(Wants wants);

  /// Reads the whole document into job(); then checks the rules between fields.
  void read(const YamlNode& root);
  /// Reads the range of one parameter of a study.
  std::optional<SearchRange> read_study_range(const std::string& name, const YamlNode& value);
  JobSpec& job() { return job_; }

  void mistake(const std::string& where, const std::string& text);
  /// A key that exists: of a field, a section, or a parameter of the sweep.
  bool is_known(const std::string& key) const;
  /// Reports `section` + `word` as unknown, with the nearest valid key.
  void unknown_key(const std::string& where, const std::string& section, const std::string& word);
  /// One line per mistake; nothing where there is none.
  std::optional<Error> mistakes() const;

 private:
  // spec_read.cpp
  void read_section(const std::string& prefix, const YamlNode& section);
  void read_entry(const YamlNode& key, const std::string& name, const YamlNode& value);
  void read_field(const Field& field, const YamlNode& value);
  /// The preset's values, before the file's own: wherever in the file it stands.
  void read_preset(const YamlNode& root);
  /// Whether it is a study, before anything else is read.
  void read_kind_of_job(const YamlNode& root);
  void read_study(const YamlNode& key, const YamlNode& value);
  std::vector<std::string> read_texts(const Field& field, const std::string& name, const YamlNode& list);
  Labels read_labels(const Field& field, const std::string& name, const YamlNode& map);
  std::optional<ParamValue> read_numbers(const Field& field, const std::string& name, const YamlNode& list);
  /// The items that read() gives, each once.
  template <typename Item, typename Read>
  std::vector<Item> read_items(const std::string& name, const YamlNode& list, Read read);
  /// The value, typed and checked; `name` is what an error calls it.
  std::optional<ParamValue> read_value(const Field& field, const std::string& name, const YamlNode& value);
  bool is_section(const std::string& name) const;
  void check_rules(const YamlNode& root);
  const std::string& place_of(const std::string& key, const std::string& fallback) const;
  /// Calls read(); a mistake that it reports makes the key wrong.
  template <typename Read>
  void read_noting(std::string_view key, Read read);
  /// Calls read(key, value) for every entry of a map whose key is a word that was not there before.
  template <typename Read>
  void each_entry(const std::string& section, const YamlNode& map, Read read);

  // spec_read_sweep.cpp
  void read_variants(const YamlNode& list);
  void read_variant(const YamlNode& entry);
  void read_parameters(const YamlNode& map);
  std::optional<SearchRange> read_range(const Field& field, const std::string& name, const YamlNode& value);
  std::optional<SearchRange> read_kind(const Field& field, const std::string& name, const YamlNode& word,
                                       const YamlNode& value);
  void read_step(const Field& field, const std::string& name, const YamlNode& value, SearchRange& range);
  void read_when(const std::string& name, const YamlNode& map, SearchRange& range);
  void read_metrics(const YamlNode& list);
  void read_constraints(const YamlNode& list);
  std::optional<SearchRange> read_choices(const Field& field, const std::string& name, const YamlNode& list);
  std::optional<SearchRange> read_ends(const Field& field, SearchRange::Kind kind, const std::string& name,
                                       const YamlNode& ends);
  const Field* parameter_field(const YamlNode& key, const YamlNode& value);
  /// Of a parameter of a study, whose range says what its values are; nothing where it may not have this name.
  const Field* study_field(const YamlNode& key, const YamlNode& value);
  void check_sweep(const YamlNode& root);
  void check_search(const std::string& place);
  void check_stop(const std::string& place);
  void check_conditions(const std::string& place);
  void check_size(const std::string& place);

  Wants wants_;
  JobSpec job_;
  std::map<std::string, std::string> places_;  // where each key stands: `train.lr`, `sweep.parameters.train.lr`
  std::vector<std::string> mistakes_;
  std::set<std::string, std::less<>> wrong_;  // fields with a mistake, and `sweep`: checks of the whole skip them
};

template <typename Read>
void SpecReader::read_noting(std::string_view key, Read read) {
  const size_t before = mistakes_.size();
  read();
  if (mistakes_.size() != before) wrong_.emplace(key);
}

template <typename Read>
void SpecReader::each_entry(const std::string& section, const YamlNode& map, Read read) {
  std::map<std::string, const YamlNode*> seen;
  for (size_t i = 0; i < map.items.size(); ++i) {
    const YamlNode& key = map.keys[i];
    if (key.kind != YamlNode::Kind::scalar) {
      mistake(key.where, fmt::format("a key of {} is {}; it must be a word", section, shown(key)));
      continue;
    }
    auto [first, is_new] = seen.emplace(key.text, &key);
    if (is_new) {
      read(key, map.items[i]);
    } else {
      mistake(key.where, fmt::format("{} is given twice in {}, first at {}; keep one", shown(key.text), section,
                                     first->second->where));
    }
  }
}

}  // namespace hivq
