#pragma once
// A session of esrl-rl: options, data, models, sampler and task, whether what learns is a translation model or a language model.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "model/seq2seq.h"
#include "rl/rl_task.h"
#include "train/lm_start.h"
#include "train/session.h"

namespace seqmill::rl {

struct RlTraining {
  std::string algorithm = "esrl";
  std::vector<std::string> rewards;
  SamplingOptions sampling;
  std::string sampling_backend = "auto", sampling_precision = "fp32";
  RlTaskOptions task;
  std::unique_ptr<Algorithm> learns;

  // Of translation models: parallel text.
  std::string train_source, train_target, valid_source, valid_target;
  int64_t max_length = 256;
  // Of language models: prompts.
  std::vector<std::string> train, valid;
  int64_t max_prompt = 0;
  bool skip_bad = false;

  train::LmStart start;                              ///< the model that it begins with, of either kind
  std::unique_ptr<model::Seq2SeqConfig> translation;  ///< null: a language model
  std::string model_type;

  /// Which options there are depends on the algorithm, and on the model that the training begins with.
  void declare(Options& options);
  void check(const train::SessionOptions& session, int ranks) const;
  /// What a validation gives that a run can be stopped on.
  std::vector<std::string> scores() const;

  bool translates() const { return translation != nullptr; }

 private:
  void declare_data(Options& options);
};

struct RlCall {
  const train::SessionOptions& session;
  uint64_t seed = 1;
  int threads = 1;
  bool progress = false;
  std::string config_yaml;
};

/// Trains in this session.
void train_policy(RlTraining& training, const RlCall& call, train::Session& session);

}  // namespace seqmill::rl
