#pragma once

// The table of all fields of a job: name, type, range, words and meaning of each, once. Reading, writing, overrides,
// sweeps, checks and `--help` all serve themselves from it. Defaults stand in spec.h.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "jobs/spec.h"

namespace hivq {

struct Bound {
  double value;
  bool included;
};

// The kinds of fields: where the value lies in a job, and what it may be. A field of `sweep` needs job.sweep to be
// there.
struct FlagField {
  bool* (*at)(JobSpec&);
};
struct WholeField {
  int64_t* (*at)(JobSpec&);
  int64_t low, high;
};
struct SeedField {  // 0 to 2^63 - 1, so that it is a ParamValue too
  uint64_t* (*at)(JobSpec&);
};
struct RealField {
  double* (*at)(JobSpec&);
  Bound low, high;
};
struct WordField {
  std::string* (*at)(JobSpec&);
  std::vector<std::string_view> words;
};
struct TextField {
  std::string* (*at)(JobSpec&);
  bool may_be_empty;
};
struct ListField {  // of whole numbers, each once
  std::vector<int64_t>* (*at)(JobSpec&);
  int64_t low, high;
  bool may_be_empty;
};
struct TextListField {  // of texts, each once; may be empty; no parameter of a sweep
  std::vector<std::string>* (*at)(JobSpec&);
};

struct LabelsField {  // words by words; may be empty; no parameter of a sweep
  Labels* (*at)(JobSpec&);
};

struct ScalarField {};  // a number, text or flag: a study's choices; nowhere in a job

struct Field {
  std::string_view key;  // dotted
  std::variant<FlagField, WholeField, SeedField, RealField, WordField, TextField, ListField, TextListField, LabelsField,
               ScalarField>
      kind;
  std::string_view help;

  /// Belongs to a trial, not to the job around it.
  bool of_trial() const { return key.find('.') != key.npos && !key.starts_with("sweep.") && !key.starts_with("retention."); }
  /// May stand in a study.
  bool of_study() const;
  /// May be a sweep's parameter.
  bool is_parameter() const {
    return of_trial() && !std::holds_alternative<TextListField>(kind) && !std::holds_alternative<LabelsField>(kind);
  }
};

/// All fields in the order in which they are written; the fields of a section stand together.
std::span<const Field> all_fields();
/// Nothing when no field has this key.
const Field* find_field(std::string_view key);

/// Why the field may not have this value: `it must be at least 1`. Nothing when it may. Of a text list or labels: one
/// item, key or value.
std::optional<std::string> objection(const Field& field, const ParamValue& value);
/// The same for one number of a list.
std::optional<std::string> objection(const ListField& field, int64_t item);
/// What the field wants, where a value is of another type: `it must be a whole number`.
std::string wanted_type(const Field& field);

/// Why a study's parameter may not have this name; nothing when it may.
std::optional<std::string> objection_to_name(const std::string& name);

/// Sets a value without an objection, and reads it back. Not for lists of texts and
/// labels.
void store(JobSpec& job, const Field& field, const ParamValue& value);
ParamValue load(const JobSpec& job, const Field& field);
/// The value as it stands in YAML, of any field.
std::string yaml_text(const JobSpec& job, const Field& field);

/// The candidate nearest to a mistyped key, by edit distance of the whole or of the last part; nothing where none is
/// near.
std::optional<std::string> nearest_key(std::string_view key, std::span<const std::string> candidates);

/// The remedy for a key that is no parameter: `did you mean train.lr?`
std::string unknown_parameter(std::string_view key);

}  // namespace hivq
