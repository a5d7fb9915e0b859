#include "jobs/spec_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <numeric>

namespace hivq {

namespace {

constexpr int64_t million = 1'000'000;
constexpr int64_t billion = 1'000'000'000;
constexpr size_t longest_text = 1000;

constexpr Bound from(double value) { return {value, true}; }
constexpr Bound above(double value) { return {value, false}; }
constexpr Bound at_most(double value) { return {value, true}; }
constexpr Bound below(double value) { return {value, false}; }

std::vector<Field> make_fields() {
  return {
      {"name", TextField{[](JobSpec& j) { return &j.name; }, false},
       "name of the job; the file's name where it is left out"},
      {"preset", WordField{[](JobSpec& j) { return &j.preset; }, {"hvq-trans", "hvq-trans-official"}},
       "defaults of loss, model.switch and eval.pot: the paper's, or the authors' code's"},
      {"priority", WholeField{[](JobSpec& j) { return &j.priority; }, -million, million},
       "higher ones go first, and may take gangs away from lower ones"},
      {"project", TextField{[](JobSpec& j) { return &j.project; }, false}, "whose share and quota of the gangs it is"},
      {"after", ListField{[](JobSpec& j) { return &j.after; }, 1, billion, true},
       "jobs that must have finished before it begins"},
      {"after_any", FlagField{[](JobSpec& j) { return &j.after_any; }},
       "it begins when those have ended, failed and cancelled ones too"},
      {"max_attempts", WholeField{[](JobSpec& j) { return &j.max_attempts; }, 1, 1000},
       "gangs that may try a trial before it fails"},
      {"retry_seconds", WholeField{[](JobSpec& j) { return &j.retry_seconds; }, 0, million},
       "before a trial's second retry, doubled for each one more; the first retry is at once"},
      {"max_trial_seconds", WholeField{[](JobSpec& j) { return &j.max_trial_seconds; }, 0, billion},
       "that a trial may run before it fails, over all attempts; 0: no limit"},
      {"max_job_seconds", WholeField{[](JobSpec& j) { return &j.max_job_seconds; }, 0, billion},
       "from its first trial's begin, after which its other trials are cancelled; 0: no limit"},

      {"data.name",
       WordField{[](JobSpec& j) { return &j.trial.data.name; },
                 {"fashion-mnist", "cifar10", "mvtec", "visa", "json-lines"}},
       "the data set; mvtec: any folders in MVTec-AD's layout"},
      {"data.path", TextField{[](JobSpec& j) { return &j.trial.data.path; }, true},
       "folder of the data set; empty: where the system's package puts it"},
      {"data.normal_classes", ListField{[](JobSpec& j) { return &j.trial.data.normal_classes; }, 0, 9999, true},
       "of a set whose classes are normal or anomalous as a whole: those to train on"},
      {"data.classes", TextListField{[](JobSpec& j) { return &j.trial.data.classes; }},
       "of a set with defects in each class: those to train and test, by name; empty: all"},
      {"data.train_list", TextField{[](JobSpec& j) { return &j.trial.data.train_list; }, false},
       "of json-lines: the training images, a file in the folder"},
      {"data.test_list", TextField{[](JobSpec& j) { return &j.trial.data.test_list; }, false},
       "of json-lines: the test images"},
      {"data.train_per_class", WholeField{[](JobSpec& j) { return &j.trial.data.train_per_class; }, 0, billion},
       "training images of each normal class; 0: all"},
      {"data.test_per_class", WholeField{[](JobSpec& j) { return &j.trial.data.test_per_class; }, 0, billion},
       "test images of each class; 0: all"},
      {"data.image_size", WholeField{[](JobSpec& j) { return &j.trial.data.image_size; }, 32, 4096},
       "pixels that images are resized to; a multiple of 16"},
      {"data.damaged", WordField{[](JobSpec& j) { return &j.trial.data.damaged; }, {"fail", "skip"}},
       "an image that cannot be read fails the trial, or is left out with a warning"},
      {"data.features", WordField{[](JobSpec& j) { return &j.trial.data.features; }, {"float32", "bfloat16"}},
       "how the backbone's features are kept; bfloat16 takes half of the memory"},

      {"backbone.name",
       WordField{[](JobSpec& j) { return &j.trial.backbone.name; },
                 {"efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3", "efficientnet-b4",
                  "efficientnet-b5", "efficientnet-b6", "efficientnet-b7", "efficientnet-lite0", "efficientnet-lite1",
                  "efficientnet-lite2", "efficientnet-lite3", "efficientnet-lite4"}},
       "the frozen network whose features are reconstructed"},
      {"backbone.weights", TextField{[](JobSpec& j) { return &j.trial.backbone.weights; }, true},
       "file of weights, .safetensors or .pth; empty: the backbone's name in the folder that set-up fills"},
      {"backbone.stages", ListField{[](JobSpec& j) { return &j.trial.backbone.stages; }, 1, 7, false},
       "stages whose output is tapped, counted from 1; used where backbone.blocks is empty"},
      {"backbone.blocks", ListField{[](JobSpec& j) { return &j.trial.backbone.blocks; }, 0, 63, true},
       "blocks whose output is tapped instead of stages, counted from 0"},

      {"model.width", WholeField{[](JobSpec& j) { return &j.trial.model.width; }, 2, 16384},
       "D; even, and a multiple of model.heads"},
      {"model.layers", WholeField{[](JobSpec& j) { return &j.trial.model.layers; }, 1, 64},
       "of the encoder and of the decoder"},
      {"model.heads", WholeField{[](JobSpec& j) { return &j.trial.model.heads; }, 1, 1024}, "attention heads"},
      {"model.feed_forward", WholeField{[](JobSpec& j) { return &j.trial.model.feed_forward; }, 1, 65536},
       "width of the feed-forward layers"},
      {"model.dropout", RealField{[](JobSpec& j) { return &j.trial.model.dropout; }, from(0), below(1)},
       "dropout rate"},
      {"model.neighbour_mask", WholeField{[](JobSpec& j) { return &j.trial.model.neighbour_mask; }, 0, 511},
       "side of the square of tokens around each that it may not attend to; odd; 0: it attends to all"},
      {"model.jitter", RealField{[](JobSpec& j) { return &j.trial.model.jitter; }, from(0), at_most(million)},
       "scale of the noise on the features in training; 0: none"},
      {"model.expert_switching", FlagField{[](JobSpec& j) { return &j.trial.model.expert_switching; }},
       "one output head per class"},
      {"model.switch", WordField{[](JobSpec& j) { return &j.trial.model.switch_by; }, {"label", "predicted"}},
       "what chooses codebook and head at test time"},
      {"model.quantizer.hierarchical", FlagField{[](JobSpec& j) { return &j.trial.model.quantizer.hierarchical; }},
       "a codebook at every layer; false: the top one only"},
      {"model.quantizer.levels", WholeField{[](JobSpec& j) { return &j.trial.model.quantizer.levels; }, 0, 65},
       "codebooks of the hierarchy, from the top; 0: model.layers + 1"},
      {"model.quantizer.prototypes",
       WholeField{[](JobSpec& j) { return &j.trial.model.quantizer.prototypes; }, 1, 65536}, "K, of each codebook"},
      {"model.quantizer.decay", RealField{[](JobSpec& j) { return &j.trial.model.quantizer.decay; }, from(0), below(1)},
       "EMA decay of the codebooks"},
      {"model.quantizer.codebook_switching",
       FlagField{[](JobSpec& j) { return &j.trial.model.quantizer.codebook_switching; }}, "one codebook per class"},
      {"model.quantizer.start",
       WordField{[](JobSpec& j) { return &j.trial.model.quantizer.start; }, {"normal", "data", "k-means++"}},
       "prototypes at the start: N(0,1), the first tokens of each class, or tokens far from each other"},
      {"model.quantizer.revive_below",
       RealField{[](JobSpec& j) { return &j.trial.model.quantizer.revive_below; }, from(0), at_most(million)},
       "average tokens a step below which a prototype moves to a token of the batch; 0: never"},

      {"loss.commitment", RealField{[](JobSpec& j) { return &j.trial.loss.commitment; }, from(0), at_most(million)},
       "weight beta of the commitment loss"},
      {"loss.pot", RealField{[](JobSpec& j) { return &j.trial.loss.pot; }, from(0), at_most(million)},
       "weight alpha of the transport loss at each level"},
      {"loss.classification",
       RealField{[](JobSpec& j) { return &j.trial.loss.classification; }, from(0), at_most(million)},
       "weight of the classifier's cross-entropy"},

      {"train.epochs", WholeField{[](JobSpec& j) { return &j.trial.train.epochs; }, 1, million},
       "passes over the training images"},
      {"train.batch_size", WholeField{[](JobSpec& j) { return &j.trial.train.batch_size; }, 1, million},
       "images of a step, over all ranks"},
      {"train.lr", RealField{[](JobSpec& j) { return &j.trial.train.lr; }, above(0), at_most(10)},
       "learning rate of AdamW"},
      {"train.weight_decay", RealField{[](JobSpec& j) { return &j.trial.train.weight_decay; }, from(0), at_most(10)},
       "weight decay of AdamW"},
      {"train.clip", RealField{[](JobSpec& j) { return &j.trial.train.clip; }, from(0), at_most(million)},
       "L2 norm that the gradient is clipped to; 0: no clipping"},
      {"train.lr_drop_epoch", WholeField{[](JobSpec& j) { return &j.trial.train.lr_drop_epoch; }, 0, million},
       "epoch after which the learning rate drops; 0, or beyond the last one: never"},
      {"train.lr_drop_factor",
       RealField{[](JobSpec& j) { return &j.trial.train.lr_drop_factor; }, above(0), at_most(1)},
       "what the learning rate is multiplied by then"},
      {"train.eval_every", WholeField{[](JobSpec& j) { return &j.trial.train.eval_every; }, 1, million},
       "epochs between evaluations"},
      {"train.checkpoint_every", WholeField{[](JobSpec& j) { return &j.trial.train.checkpoint_every; }, 1, million},
       "epochs between checkpoints"},
      {"train.checkpoint_seconds", WholeField{[](JobSpec& j) { return &j.trial.train.checkpoint_seconds; }, 0, million},
       "a checkpoint, too, whenever so many seconds of work would be lost; 0: by epochs alone"},
      {"train.precision", WordField{[](JobSpec& j) { return &j.trial.train.precision; }, {"float32", "bfloat16"}},
       "in which the layers multiply in training; parameters, codebooks and evaluation stay float32"},
      {"train.seed", SeedField{[](JobSpec& j) { return &j.trial.train.seed; }},
       "of the start, the order of images and dropout"},
      {"train.start_from", TextField{[](JobSpec& j) { return &j.trial.train.start_from; }, true},
       "a stored trial, such as 3/0, whose newest model the trial starts from; empty: untrained"},

      {"eval.score", WordField{[](JobSpec& j) { return &j.trial.eval.score; }, {"max", "mean", "std"}},
       "of the anomaly map: the image's score"},
      {"eval.pot", RealField{[](JobSpec& j) { return &j.trial.eval.pot; }, from(0), at_most(million)},
       "weight of the transport score in the anomaly map"},
      {"eval.pot_levels", ListField{[](JobSpec& j) { return &j.trial.eval.pot_levels; }, 0, 64, true},
       "levels whose transport scores are added, 0 the top; empty: the finest"},
      {"eval.pictures", WholeField{[](JobSpec& j) { return &j.trial.eval.pictures; }, 0, 16},
       "test images of each class, normal and anomalous, that are kept with their maps (64 a trial at most); 0: none"},

      {"gang.ranks", WholeField{[](JobSpec& j) { return &j.trial.gang.ranks; }, 0, 65536},
       "ranks of the gang that runs a trial; 0: any"},
      {"gang.fuse", WholeField{[](JobSpec& j) { return &j.trial.gang.fuse; }, 1, 1024},
       "most trials of equal shape (other seed, learning rate, weights of losses …) that a gang trains side by side"},
      {"gang.labels", LabelsField{[](JobSpec& j) { return &j.trial.gang.labels; }},
       "that the gang must carry, such as {pool: a100}; a worker's are given with --label"},

      {"retention.last", WholeField{[](JobSpec& j) { return &j.retention.last; }, 1, 1000},
       "newest checkpoints of each trial that are kept"},
      {"retention.best", WholeField{[](JobSpec& j) { return &j.retention.best; }, 0, 1000},
       "and its best ones by sweep.metric"},
      {"retention.trials", WholeField{[](JobSpec& j) { return &j.retention.trials; }, 0, million},
       "ended trials that keep their checkpoints, the best by sweep.metric; 0: all"},

      {"sweep.search",
       WordField{[](JobSpec& j) { return &j.sweep->search; },
                 {"grid", "random", "sobol", "tpe", "gp", "cma-es", "bohb", "nsga2", "pbt"}},
       "how trials are chosen; see jobs/search/README.md"},
      {"sweep.trials", WholeField{[](JobSpec& j) { return &j.sweep->trials; }, 0, million},
       "settings of the parameters (each variant runs all of them); 0: the whole grid"},
      {"sweep.seed", SeedField{[](JobSpec& j) { return &j.sweep->seed; }}, "of every search but the grid"},
      {"sweep.metric", TextField{[](JobSpec& j) { return &j.sweep->metric; }, false},
       "metric by which trials are ranked"},
      {"sweep.goal", WordField{[](JobSpec& j) { return &j.sweep->goal; }, {"maximize", "minimize"}},
       "better is higher, or lower"},
      {"sweep.startup", WholeField{[](JobSpec& j) { return &j.sweep->startup; }, 1, 100'000},
       "of tpe, gp and bohb: settings that are spread over the space before a model chooses"},
      {"sweep.population", WholeField{[](JobSpec& j) { return &j.sweep->population; }, 0, 100'000},
       "of cma-es, nsga2 and pbt: trials of a generation; 0: the search's own choice"},
      {"sweep.stop.by",
       WordField{[](JobSpec& j) { return &j.sweep->stop.by; }, {"none", "asha", "hyperband", "median"}},
       "what ends trials early that fall behind"},
      {"sweep.stop.min_epochs", WholeField{[](JobSpec& j) { return &j.sweep->stop.min_epochs; }, 1, million},
       "epochs that every trial may train"},
      {"sweep.stop.reduction", RealField{[](JobSpec& j) { return &j.sweep->stop.reduction; }, from(2), at_most(1000)},
       "of asha and hyperband: one in so many trials goes on at each rung"},
      {"sweep.stop.startup", WholeField{[](JobSpec& j) { return &j.sweep->stop.startup; }, 1, million},
       "of median: trials that must have come as far before one is stopped"},
      {"sweep.stop.max_epochs", WholeField{[](JobSpec& j) { return &j.sweep->stop.max_epochs; }, 0, million},
       "of a study: epochs of a whole trial, which hyperband needs to know; 0: nobody knows"},
      {"sweep.warm_start", ListField{[](JobSpec& j) { return &j.sweep->warm_start; }, 1, billion, true},
       "earlier jobs whose ended trials the search learns from first"},
  };
}

std::optional<std::string> outside(double value, Bound low, Bound high) {
  if (!std::isfinite(value)) return "it must be a finite number";
  if (value < low.value || (value == low.value && !low.included)) {
    return fmt::format("it must be {} {}", low.included ? "at least" : "above", to_string(ParamValue(low.value)));
  }
  if (value > high.value || (value == high.value && !high.included)) {
    return fmt::format("it must be {} {}", high.included ? "at most" : "below", to_string(ParamValue(high.value)));
  }
  return std::nullopt;
}

std::optional<std::string> outside(int64_t value, int64_t low, int64_t high) {
  if (value < low) return fmt::format("it must be at least {}", low);
  if (value > high) return fmt::format("it must be at most {}", high);
  return std::nullopt;
}

std::string one_of(const std::vector<std::string_view>& words) {
  if (words.size() == 1) return fmt::format("it must be {}", words[0]);
  return fmt::format("it must be {} or {}", fmt::join(words.begin(), words.end() - 1, ", "), words.back());
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const size_t length = first < 0x80 ? 1 : first >> 5 == 0x6 ? 2 : first >> 4 == 0xe ? 3 : first >> 3 == 0x1e ? 4 : 0;
    if (length == 0 || length > text.size() - i) return false;
    uint32_t point = length == 1 ? first : first & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 0x2) return false;
      point = point << 6 | (next & 0x3fu);
    }
    constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < smallest[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

std::optional<std::string> objection_to_text(const std::string& text, bool may_be_empty) {
  if (text.empty() && !may_be_empty) return "it must not be empty";
  if (text.size() > longest_text) return fmt::format("it must have at most {} characters", longest_text);
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return "it must be one line without control characters";
  }
  if (!is_utf8(text)) return "it must be UTF-8";
  return std::nullopt;
}

// A label is also written KEY=VALUE, on command lines.
std::optional<std::string> objection_to_label(const std::string& text) {
  constexpr size_t longest_label = 64;
  const auto may_be = [](unsigned char c) {
    return std::isalnum(c) || std::string_view("-_.:/").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (text.empty() || text.size() > longest_label) return fmt::format("it must have 1 to {} characters", longest_label);
  if (std::all_of(text.begin(), text.end(), may_be)) return std::nullopt;
  return "it must be a word of letters, digits and - _ . : /";
}

std::optional<std::string> objection_to_list(const ListField& field, std::vector<int64_t> list) {
  if (list.empty() && !field.may_be_empty) return "it must hold at least one number";
  for (int64_t item : list) {
    if (auto why = objection(field, item)) return fmt::format("it holds {}; {}", item, *why);
  }
  std::sort(list.begin(), list.end());
  if (std::adjacent_find(list.begin(), list.end()) == list.end()) return std::nullopt;
  return "it must hold each number once";
}

// Levenshtein distance, where two neighbours that changed places count as one change.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;  // for clang 14

}  // namespace

std::span<const Field> all_fields() {
  static const std::vector<Field> fields = make_fields();
  return fields;
}

bool Field::of_study() const {
  if (key.starts_with("sweep.")) return true;
  constexpr std::string_view of_any_job[] = {"name", "project", "after", "after_any", "max_trial_seconds", "max_job_seconds"};
  return std::find(std::begin(of_any_job), std::end(of_any_job), key) != std::end(of_any_job);
}

std::optional<std::string> objection_to_name(const std::string& name) {
  constexpr size_t longest_name = 200;
  if (name.size() > longest_name) return fmt::format("it must have at most {} bytes", longest_name);
  return objection_to_text(name, false);
}

const Field* find_field(std::string_view key) {
  for (const Field& field : all_fields()) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

std::string wanted_type(const Field& field) {
  return std::visit(
      Overloaded{
          [](const FlagField&) -> std::string { return "it must be true or false"; },
          [](const WholeField&) -> std::string { return "it must be a whole number"; },
          [](const SeedField&) -> std::string { return "it must be a whole number"; },
          [](const RealField&) -> std::string { return "it must be a number"; },
          [](const WordField& f) { return one_of(f.words); },
          [](const TextField&) -> std::string { return "it must be text"; },
          [](const ListField&) -> std::string { return "it must be a list of whole numbers, such as [1, 2]"; },
          [](const TextListField&) -> std::string { return "it must be a list of texts, such as [bottle, cable]"; },
          [](const LabelsField&) -> std::string { return "it must be words by words, such as {pool: a100}"; },
          [](const ScalarField&) -> std::string { return "it must be a number, a text, true or false"; },
      },
      field.kind);
}

std::optional<std::string> objection(const Field& field, const ParamValue& value) {
  const auto* whole = std::get_if<int64_t>(&value);
  const auto* real = std::get_if<double>(&value);
  const auto* text = std::get_if<std::string>(&value);
  using Objection = std::optional<std::string>;
  return std::visit(
      Overloaded{
          [&](const FlagField&) -> Objection {
            if (!std::holds_alternative<bool>(value)) return wanted_type(field);
            return std::nullopt;
          },
          [&](const WholeField& f) -> Objection { return whole ? outside(*whole, f.low, f.high) : wanted_type(field); },
          [&](const SeedField&) -> Objection {
            return whole ? outside(*whole, 0, std::numeric_limits<int64_t>::max()) : wanted_type(field);
          },
          [&](const RealField& f) -> Objection {
            if (whole) return outside(static_cast<double>(*whole), f.low, f.high);
            return real ? outside(*real, f.low, f.high) : wanted_type(field);
          },
          [&](const WordField& f) -> Objection {
            if (text && std::find(f.words.begin(), f.words.end(), *text) != f.words.end()) return std::nullopt;
            return one_of(f.words);
          },
          [&](const TextField& f) -> Objection {
            return text ? objection_to_text(*text, f.may_be_empty) : wanted_type(field);
          },
          [&](const ListField& f) -> Objection {
            const auto* list = std::get_if<std::vector<int64_t>>(&value);
            return list ? objection_to_list(f, *list) : wanted_type(field);
          },
          [&](const TextListField&) -> Objection {
            return text ? objection_to_text(*text, false) : wanted_type(field);
          },
          [&](const LabelsField&) -> Objection { return text ? objection_to_label(*text) : wanted_type(field); },
          [&](const ScalarField&) -> Objection {
            if (text) return objection_to_text(*text, false);
            if (real && !std::isfinite(*real)) return "it must be finite";
            if (std::holds_alternative<std::vector<int64_t>>(value)) return wanted_type(field);
            return std::nullopt;
          },
      },
      field.kind);
}

std::optional<std::string> objection(const ListField& field, int64_t item) {
  return outside(item, field.low, field.high);
}

void store(JobSpec& job, const Field& field, const ParamValue& value) {
  std::visit(Overloaded{
                 [&](const FlagField& f) { *f.at(job) = std::get<bool>(value); },
                 [&](const WholeField& f) { *f.at(job) = std::get<int64_t>(value); },
                 [&](const SeedField& f) { *f.at(job) = static_cast<uint64_t>(std::get<int64_t>(value)); },
                 [&](const RealField& f) {
                   const auto* whole = std::get_if<int64_t>(&value);
                   *f.at(job) = whole ? static_cast<double>(*whole) : std::get<double>(value);
                 },
                 [&](const WordField& f) { *f.at(job) = std::get<std::string>(value); },
                 [&](const TextField& f) { *f.at(job) = std::get<std::string>(value); },
                 [&](const ListField& f) { *f.at(job) = std::get<std::vector<int64_t>>(value); },
                 [&](const TextListField&) { panic("store() of a list of texts"); },
                 [&](const LabelsField&) { panic("store() of labels"); },
                 [&](const ScalarField&) { panic("store() of a study's parameter"); },
             },
             field.kind);
}

ParamValue load(const JobSpec& job, const Field& field) {
  JobSpec& readable = const_cast<JobSpec&>(job);  // the table hands out one kind of pointer; nothing is written here
  return std::visit(Overloaded{
                        [&](const FlagField& f) { return ParamValue(*f.at(readable)); },
                        [&](const WholeField& f) { return ParamValue(*f.at(readable)); },
                        [&](const SeedField& f) { return ParamValue(static_cast<int64_t>(*f.at(readable))); },
                        [&](const RealField& f) { return ParamValue(*f.at(readable)); },
                        [&](const WordField& f) { return ParamValue(*f.at(readable)); },
                        [&](const TextField& f) { return ParamValue(*f.at(readable)); },
                        [&](const ListField& f) { return ParamValue(*f.at(readable)); },
                        [&](const TextListField&) -> ParamValue { panic("load() of a list of texts"); },
                        [&](const LabelsField&) -> ParamValue { panic("load() of labels"); },
                        [&](const ScalarField&) -> ParamValue { panic("load() of a study's parameter"); },
                    },
                    field.kind);
}

std::optional<std::string> nearest_key(std::string_view key, std::span<const std::string> candidates) {
  if (key.size() > 100) return std::nullopt;
  std::optional<std::string> nearest;
  size_t least = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : candidates) {
    // A right name in the wrong section is near too.
    size_t distance = std::min(edit_distance(key, candidate), edit_distance(last_part(key), last_part(candidate)) + 1);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  if (least > std::max<size_t>(1, last_part(key).size() / 3)) return std::nullopt;
  return nearest;
}

std::string unknown_parameter(std::string_view key) {
  const Field* field = find_field(key);
  if (field && field->of_trial()) {
    return std::holds_alternative<LabelsField>(field->kind) ? "labels cannot be a parameter of a sweep"
                                                            : "a list of texts cannot be a parameter of a sweep";
  }
  std::vector<std::string> parameters;
  for (const Field& each : all_fields()) {
    if (each.is_parameter()) parameters.emplace_back(each.key);
  }
  if (auto nearest = nearest_key(key, parameters)) return fmt::format("did you mean {}?", *nearest);
  return "parameters are written in full, such as train.lr";
}

}  // namespace hivq
