#pragma once

// The job specification: what a user writes in YAML, as typed and validated values.
// Defaults stand here; every field's name, type and range stands once, in spec_fields.cpp; parse_job() is in
// spec_parse.cpp.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/result.h"

namespace hivq {

struct DataSpec {
  // The loader. Many-class sets, where whole classes are anomalous: fashion-mnist, cifar10. Sets with defects within
  // each class: mvtec (folders in MVTec-AD's layout, one's own too), visa, json-lines (UniAD's lists).
  std::string name = "fashion-mnist";
  std::string path;  // folder of the data set; empty: where the system package puts it
  std::vector<int64_t> normal_classes = {0, 1, 2, 3, 4};  // of a many-class set; the others are anomalous
  std::vector<std::string> classes;       // of a set with defects: those to train and test; empty: all, by name
  std::string train_list = "train.json";  // json-lines: the lists, relative to the folder
  std::string test_list = "test.json";
  int64_t train_per_class = 0;       // images of each normal class used for training; 0: all
  int64_t test_per_class = 0;        // images of each class used for testing; 0: all
  int64_t image_size = 224;          // pixels; a multiple of 16
  std::string damaged = "fail";      // an image that cannot be decoded: fail (the trial) | skip (it, with a warning)
  std::string features = "float32";  // how the backbone's features are kept: float32 | bfloat16, half of the memory
  bool operator==(const DataSpec&) const = default;
};

struct BackboneSpec {
  std::string name = "efficientnet-lite0";     // efficientnet-b0 … b7, efficientnet-lite0 … lite2
  std::string weights;                         // .safetensors or .pth; empty: <name>.* in the weights' folder
  std::vector<int64_t> stages = {1, 2, 3, 5};  // stages whose last block's output is tapped, 1-based
  std::vector<int64_t> blocks;                 // blocks that are tapped instead, 0-based; empty: by stage
  bool operator==(const BackboneSpec&) const = default;
};

struct QuantizerSpec {
  bool hierarchical = true;        // false: one level, the top codebook only
  int64_t levels = 0;              // of a hierarchical one, from the top; 0: layers + 1, one for every encoder layer
  int64_t prototypes = 512;        // K
  double decay = 0.99;             // EMA decay gamma
  bool codebook_switching = true;  // one codebook per class
  // normal: N(0,1); data: tokens of the class's first images; k-means++: tokens that lie far from each other
  std::string start = "normal";
  // A prototype whose moving average of tokens has sunk below this moves to a token of the batch; 0: never.
  double revive_below = 0;
  bool operator==(const QuantizerSpec&) const = default;
};

struct ModelSpec {
  int64_t width = 256;  // D
  int64_t layers = 4;   // of the encoder and of the decoder
  int64_t heads = 8;
  int64_t feed_forward = 1024;
  double dropout = 0.1;
  int64_t neighbour_mask = 0;  // odd: no token attends to the square of so many tokens around it; 0: to all (UniAD: 7)
  double jitter = 0;           // scale of the noise on the features while training; 0: none (UniAD: 20)
  bool expert_switching = true;  // one output head per class
  // What chooses codebook and head at test time: label | predicted. YAML key `switch`.
  std::string switch_by = "predicted";
  QuantizerSpec quantizer;
  bool operator==(const ModelSpec&) const = default;
};

struct LossSpec {
  double commitment = 0.5;      // beta
  double pot = 0.01;            // alpha per level; 0: no POT loss in training
  double classification = 1.0;  // weight of the classifier's cross-entropy
  bool operator==(const LossSpec&) const = default;
};

struct TrainSpec {
  int64_t epochs = 1000;
  int64_t batch_size = 16;  // global: over all ranks
  double lr = 1e-4;
  double weight_decay = 1e-4;
  double clip = 0.1;  // L2 norm of the gradient; 0: no clipping
  // The learning rate is multiplied by lr_drop_factor after lr_drop_epoch; 0, or beyond the last epoch: never.
  int64_t lr_drop_epoch = 800;
  double lr_drop_factor = 0.1;
  int64_t eval_every = 10;          // epochs
  int64_t checkpoint_every = 10;    // epochs
  int64_t checkpoint_seconds = 60;  // and whenever so much work would be lost; 0: by epochs alone
  std::string precision = "float32";  // in which the layers multiply; bfloat16: values, codebooks and sums stay float32
  uint64_t seed = 0;
  // JOB/TRIAL: a stored trial whose newest checkpoint's model and codebooks this one starts from; empty: untrained.
  std::string start_from;
  bool operator==(const TrainSpec&) const = default;
};

struct EvalSpec {
  std::string score = "max";  // max | mean | std of the anomaly map
  double pot = 80;            // weight of the POT score added to the map, as in the authors' code; 0: none
  // Levels whose POT scores are added, 0 the top; empty: the finest only, as in the authors' code.
  std::vector<int64_t> pot_levels;
  int64_t pictures = 1;  // test images of each class, normal and anomalous, that a trial shows at its end; 0: none
  bool operator==(const EvalSpec&) const = default;
};

/// What a gang is said to be, such as pool: a100.
using Labels = std::map<std::string, std::string>;

struct GangSpec {
  int64_t ranks = 0;  // ranks of the gang that may run a trial; 0: any
  int64_t fuse = 1;   // trials of the job that a gang trains side by side at most, where fusion.h allows it
  Labels labels;      // that the gang must carry (hivq-worker --label pool=a100)
  bool operator==(const GangSpec&) const = default;
};

/// Everything that a worker needs to run one trial. Resolved: no sweep left in it.
struct TrialSpec {
  DataSpec data;
  BackboneSpec backbone;
  ModelSpec model;
  LossSpec loss;
  TrainSpec train;
  EvalSpec eval;
  GangSpec gang;
  bool operator==(const TrialSpec&) const = default;
};

using ParamValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>>;
/// One setting of a sweep's parameters, by dotted key (`train.lr`), in the order of the keys.
using Params = std::map<std::string, ParamValue>;

/// A range or a choice of one parameter.
struct SearchRange {
  enum class Kind { choice, uniform, log_uniform, integer, log_integer };
  Kind kind = Kind::choice;
  std::vector<ParamValue> choices;  // choice
  double low = 0, high = 0;         // the others, both included
  double step = 0;                  // uniform, integer: low, low + step, … alone; 0: every value
  // The parameter is there only in trials where each of these other parameters has one of the values.
  std::map<std::string, std::vector<ParamValue>> when = {};
  bool operator==(const SearchRange&) const = default;
};

/// Fixed settings under one name, such as one row of a table.
struct Variant {
  std::string name;
  Params params;
  std::optional<double> published = {};  // the sweep's metric of this row in the literature: 0.711, not 71.1
  bool operator==(const Variant&) const = default;
};

/// What a sweep optimises: one of several metrics.
struct Objective {
  std::string metric;
  std::string goal = "maximize";  // maximize | minimize
  bool operator==(const Objective&) const = default;
};

/// What a trial's metric must keep to; one that does not is no solution, however good.
struct Constraint {
  std::string metric;
  std::optional<double> at_most, at_least;  // one or both
  bool operator==(const Constraint&) const = default;
};

/// When trials are ended early. See search/stopper.h.
struct StopSpec {
  std::string by = "none";  // none | asha | hyperband | median
  int64_t min_epochs = 1;   // that every trial may train
  double reduction = 3;     // asha, hyperband: one in so many trials goes on at each rung (eta)
  int64_t startup = 5;      // median: trials that must have come as far before one is stopped
  int64_t max_epochs = 0;   // of a study: epochs of a whole trial, 0 where nobody knows; of a sweep train.epochs says it
  bool operator==(const StopSpec&) const = default;
};

struct SweepSpec {
  std::string search = "grid";  // grid | random | sobol | tpe | gp | cma-es | bohb | nsga2 | pbt
  int64_t trials = 0;           // settings of the parameters, each run by every variant; grid: 0 is all
  uint64_t seed = 0;
  std::string metric = "auroc";
  std::string goal = "maximize";  // maximize | minimize
  int64_t startup = 10;           // tpe, gp, bohb: settings of each variant before a model chooses; also earlier ones'
  int64_t population = 0;         // cma-es, nsga2, pbt: trials of a generation; 0: the searcher's own choice
  StopSpec stop;
  std::vector<int64_t> warm_start;  // jobs whose ended trials the searcher learns from first
  std::vector<Objective> metrics;   // where there are several: all of them, the first is metric and goal; else empty
  std::vector<Constraint> constraints;
  std::vector<Variant> variants;                  // each combined with every setting of `parameters`
  std::map<std::string, SearchRange> parameters;  // by dotted key; none that a variant sets too
  bool operator==(const SweepSpec&) const = default;
};

/// Which checkpoints are kept. A pinned one stays anyway, and one that a trial is to start from until it has.
struct RetentionSpec {
  int64_t last = 1;    // newest ones of each trial
  int64_t best = 1;    // of each trial, by the sweep's metric and goal at the last evaluation before them
  int64_t trials = 0;  // of the job: the best ended ones keep theirs; 0: all
  bool operator==(const RetentionSpec&) const = default;
};

/// A job: one YAML file. Without a sweep it has one trial. Of a study (YAML key `study` instead of `sweep`) the user's own
/// program runs the trials: `sweep` says how they are chosen, its parameters have names of the user's, and more of them
/// are added when a trial asks for one. See study.h.
struct JobSpec {
  std::string name;
  // Defaults of what the file does not set: hvq-trans, the paper's objective; hvq-trans-official, the authors' code's.
  std::string preset = "hvq-trans";
  int64_t priority = 0;             // the higher goes first, and may take gangs away from the lower
  std::string project = "default";  // whose share and quota it is
  std::vector<int64_t> after;       // jobs that must have finished before it begins
  bool after_any = false;           // it is enough that they have ended, however that was
  int64_t max_attempts = 5;         // leases of a trial before it fails
  int64_t retry_seconds = 5;        // before the second retry; twice as long before each one more; the first is at once
  int64_t max_trial_seconds = 0;    // that a trial may run, over all attempts; 0: no limit
  int64_t max_job_seconds = 0;      // from the first trial's begin; 0: no limit
  TrialSpec trial;           // the values that the sweep does not change
  RetentionSpec retention;
  std::optional<SweepSpec> sweep;
  bool study = false;  // then there is a sweep
  bool operator==(const JobSpec&) const = default;
};

/// What a trial has where nothing is said, by the preset's name.
TrialSpec defaults_of(std::string_view preset);

/// `--set key=value`: replaces or adds one value before validation; errors name it instead of a line of the file.
struct Override {
  std::string key;    // dotted: train.lr
  std::string value;  // YAML
};

/// Reads and validates a job. `file` names the text in errors. An Error holds one line per mistake, each
/// `file:line: field …` with the remedy (and the nearest valid key for an unknown one).
Result<JobSpec> parse_job(const std::string& text, const std::string& file,
                          const std::vector<Override>& overrides = {});

/// The job as YAML with every default written out; parse_job(to_yaml(job)) gives the same job.
std::string to_yaml(const JobSpec& job);

/// The trial's resolved values as YAML (no sweep), and back. What the coordinator sends to a gang.
std::string to_yaml(const TrialSpec& trial);
Result<TrialSpec> parse_trial(const std::string& text, const std::string& file);

/// Sets the parameters in the trial, checked as in the file. Errors name the key, the remedy and the nearest valid key.
Result<TrialSpec> with_params(const TrialSpec& trial, const Params& params);

/// Parameters from the texts that to_string() made of them. Errors: a key or a text that this version cannot read.
Result<Params> read_params(const std::map<std::string, std::string>& texts);

/// A parameter's value as a user reads it, numbers as short as they can be read back: `1e-4`, `true`, `[0,1,2]`.
std::string to_string(const ParamValue& value);
std::string to_string(const Params& params);  // "train.lr=1e-4 train.seed=1"

}  // namespace hivq
