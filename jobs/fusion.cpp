#include "jobs/fusion.h"

namespace hivq {

namespace {

/// Only whether it is there at all.
double presence(double weight) { return weight > 0 ? 0.5 : 0; }

}  // namespace

std::string fusion_key(const TrialSpec& trial) {
  const TrialSpec any;
  TrialSpec key = trial;
  key.model.dropout = presence(trial.model.dropout);
  key.model.jitter = presence(trial.model.jitter);
  key.model.quantizer.decay = any.model.quantizer.decay;
  key.loss = {any.loss.commitment, presence(trial.loss.pot), presence(trial.loss.classification)};
  key.train.lr = any.train.lr;
  key.train.weight_decay = any.train.weight_decay;
  key.train.clip = any.train.clip;
  key.train.lr_drop_epoch = any.train.lr_drop_epoch;
  key.train.lr_drop_factor = any.train.lr_drop_factor;
  key.train.seed = any.train.seed;
  key.train.start_from = any.train.start_from;
  key.eval = any.eval;
  return to_yaml(key);
}

}  // namespace hivq
