#pragma once
// Training on rewards as the training loop sees it: an update takes inputs, has candidates drawn and judged, and learns of them in one packed pass (ESRL, section 3.5 of which the two stages are).

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "rl/inputs.h"
#include "rl/rollout.h"
#include "train/task.h"

namespace seqmill::rl {

struct RlTaskOptions {
  int64_t inputs = 32;         ///< of a micro-batch
  int64_t passes = 1;          ///< over the candidates of a rollout
  int64_t minibatches = 1;     ///< a pass is split into so many updates
  int64_t stages = 2;          ///< 1: candidates are drawn within the graph, the baseline (rl/graph_sampler.h)
  double mle_weight = 0;       ///< 1 - lambda: the loss is lambda of the algorithm's and 1 - lambda of the cross-entropy of references
  int64_t part_tokens = 2048;  ///< candidates are worked on in parts of about this many tokens at the same time
  int64_t valid_inputs = 0;    ///< of the validation data, the first ones; 0: all
  std::string dump;            ///< candidates are appended to this file; "": nowhere
  RolloutOptions rollout;

  void declare(Options& options);
  /// Throws usage errors. `accumulate`: micro-batches of an update, over all ranks.
  void check(const Algorithm& algorithm, bool translates, int64_t accumulate, int ranks) const;
};

/// Scores of outputs against references, larger is better, by name.
using OutputScorer = std::function<train::Scores(const std::vector<std::string>& outputs, const std::vector<Question>& questions)>;

/// All must outlive the task. `copy` makes the policies of further workers; `reference` may be null. A validation gives "loss" (minus the reward), "reward" of greedy outputs, and what `scorer`, if any, says of them.
struct RlSetting {
  Policy& policy;
  std::function<std::unique_ptr<Policy>()> copy;
  const Policy* reference;
  Sampler& sampler;
  RewardSum& rewards;
  const Algorithm& algorithm;
  OutputScorer scorer;
  std::function<at::Tensor()> graph = {};  ///< with one stage: log-probabilities of the tokens of all candidates drawn last [M], with their graph
  uint64_t seed = 1;
  int threads = 1;
};

std::unique_ptr<train::Task> make_rl_task(const RlSetting& setting, std::vector<Input> train, std::vector<Input> valid, const RlTaskOptions& options, train::Ranks& ranks);

}  // namespace seqmill::rl
