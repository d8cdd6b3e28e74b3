#pragma once
// The reference of a training on preferences: the model that it begins with, whose log-probabilities are asked once and kept.

#include <functional>
#include <memory>
#include <string>

#include "align/answer_logprobs.h"
#include "model/lm.h"
#include "train/ranks.h"

namespace seqmill::align {

struct ReferenceModel {
  std::string source;       ///< what the training begins with, as io::find_model takes it
  std::string config_yaml;  ///< of the run, whose options may make another model of the source
  bool resumes = false;     ///< the training has begun: the model that it trains is another one by now
  /// Rank 0 of a run that goes on: makes the model again as it was in the beginning, of the source and with the run's options.
  std::function<std::unique_ptr<model::Lm>()> begun;
};

/// A folder of the run holds "reference.json", which tells what the training began with by the bytes of its weights, and "cache/reference.safetensors", the log-probabilities.
class Reference {
 public:
  /// Rank 0 of a new run writes down what it begins with. `run`: the folder.
  Reference(ReferenceModel model, std::string run, const train::Ranks& ranks);

  /// In evaluation mode and float32: of `policy`, as a new run begins with it; where it has its weights on rank 0 alone, all get them. A run that goes on, and whose cache was lost or is of
  /// other data, makes the model again; throws Error where that would become another one than it began with, and as all_logprobs(). `copy`: another model of the same shape, its weights unset.
  TreeLogprobs logprobs(model::Lm& policy, const std::function<std::unique_ptr<model::Lm>()>& copy, const TreeSets& sets, int64_t batch_tokens, bool progress, train::Ranks& ranks) const;

 private:
  std::unique_ptr<model::Lm> make_again(const std::function<std::unique_ptr<model::Lm>()>& copy, at::Device device, const std::string& cache, const train::Ranks& ranks) const;

  ReferenceModel model_;
  std::string run_;
  std::string began_with_;  ///< rank 0: a fingerprint; empty where it was never written down
};

}  // namespace seqmill::align
