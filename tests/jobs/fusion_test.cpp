#include "jobs/fusion.h"

#include <gtest/gtest.h>

#include <set>

#include "jobs/spec_fields.h"

namespace hivq {
namespace {

/// A trial in which everything that may be there is.
TrialSpec full() {
  TrialSpec trial;
  trial.model.jitter = 20;
  return trial;
}

/// Another value that the field may have, and that does not switch anything on or off.
ParamValue other_value(const Field& field, const ParamValue& now) {
  const std::vector<ParamValue> candidates = {true,
                                              false,
                                              int64_t{1},
                                              int64_t{2},
                                              int64_t{3},
                                              int64_t{32},
                                              int64_t{64},
                                              0.25,
                                              0.75,
                                              std::string("std"),
                                              std::string("label"),
                                              std::string("data"),
                                              std::string("mvtec"),
                                              std::string("skip"),
                                              std::string("bfloat16"),
                                              std::string("efficientnet-b0"),
                                              std::string("1/2"),
                                              std::vector<int64_t>{1, 3}};
  for (const ParamValue& value : candidates) {
    if (!objection(field, value) && value != now) return value;
  }
  ADD_FAILURE() << "no other value for " << field.key;
  return now;
}

TEST(Fusion, ExactlyTheNamedFieldsAreFree) {
  const std::set<std::string_view> free = {"model.quantizer.decay",
                                           "model.dropout",
                                           "model.jitter",
                                           "loss.commitment",
                                           "loss.pot",
                                           "loss.classification",
                                           "train.lr",
                                           "train.weight_decay",
                                           "train.clip",
                                           "train.lr_drop_epoch",
                                           "train.seed",
                                           "eval.score",
                                           "train.lr_drop_factor",
                                           "eval.pot",
                                           "eval.pot_levels",
                                           "eval.pictures",
                                           "train.start_from"};
  for (const Field& field : all_fields()) {
    if (!field.is_parameter()) continue;
    JobSpec job;
    job.trial = full();
    store(job, field, other_value(field, load(job, field)));
    EXPECT_EQ(fusion_key(job.trial) == fusion_key(full()), free.contains(field.key)) << field.key;
  }
}

TEST(Fusion, TheClassesOfTheDataMustBeEqual) {
  TrialSpec other = full();
  other.data.classes = {"bottle"};
  EXPECT_NE(fusion_key(other), fusion_key(full()));
}

TEST(Fusion, WhatIsOffInOneTrialMustBeOffInAll) {
  for (const char* key : {"loss.pot", "loss.classification", "model.dropout", "model.jitter"}) {
    JobSpec job;
    job.trial = full();
    store(job, *find_field(key), 0.0);
    EXPECT_NE(fusion_key(job.trial), fusion_key(full())) << key;
  }
}

}  // namespace
}  // namespace hivq
