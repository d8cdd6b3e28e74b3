#pragma once
// A session of rm-train: options, data, model and task of whichever objective was chosen.

#include <memory>
#include <string>
#include <vector>

#include "align/judge_task.h"
#include "align/reward_task.h"
#include "base/options.h"
#include "train/lm_start.h"
#include "train/session.h"

namespace seqmill::align {

struct RewardTraining {
  std::string objective = "bradley-terry";
  std::vector<std::string> aspects{"score"};  ///< heads of a scalar model, by name
  std::string pool = "last";                  ///< of a scalar model: which state of an answer its scores are made of (infer::pooling_names())
  std::string features = "answer";            ///< or of texts each by itself (infer/estimator_head.h): reference-free, reference-based
  std::vector<std::string> hidden{"256"};     ///< widths of the layers of a metric's head
  bool freeze = false;                        ///< train the head alone
  ComparisonDataOptions data;
  TreeTaskOptions batches;
  RewardTaskOptions reward;
  JudgeTaskOptions judge;
  std::unique_ptr<Objective> scalar;  ///< null: a judge

  /// Defaults as the model has them that a training begins with.
  void inherit(const infer::ModelConfig& source);
  /// "objective.type", with the flag --objective, the options of the one that the user chose, and those of the data. `source`: the directory of the model that it begins with, whose
  /// questions a judge goes on asking; "" for none.
  void declare(Options& options, const std::string& source);
  void check() const;
  /// What a validation gives that a run can be stopped on.
  std::vector<std::string> scores() const;

  bool is_metric() const { return features != "answer"; }
  std::vector<int64_t> hidden_widths() const;
};

/// A call of rm-train.
struct RewardCall {
  const train::LmStart& start;
  const train::SessionOptions& session;
  uint64_t seed = 1;
  int threads = 1;
  bool progress = false;
  std::string config_yaml = {};
};

/// Trains in this session.
void train_reward_model(RewardTraining& training, const RewardCall& call, train::Session& session);

/// "name  paper" lines.
std::string list_objectives();

}  // namespace seqmill::align
