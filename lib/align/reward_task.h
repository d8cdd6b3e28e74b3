#pragma once
// Training a reward model with a head that gives scores: of answers, or of translations (learned metrics).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "align/comparison_data.h"
#include "align/objective.h"
#include "align/tree_task.h"
#include "model/scorer.h"

namespace seqmill::align {

struct RewardTaskOptions {
  double sft_weight = 0;  ///< a: the loss is (1 - a) objective + a negative log-likelihood per token of the best answer

  void declare(Options& options);
};

using ScorerCopier = std::function<std::unique_ptr<model::Scorer>()>;

/// `model` and `objective` must outlive the task. A validation gives "loss"; of comparisons "accuracy" (a tie is wrong), "margin" (of scores), "ece" and "brier" (of sigma(difference) as the probability that the
/// better answer wins), all over pairs; of regression, for each of the aspects, "rmse-<aspect>" and "pearson-<aspect>".
std::unique_ptr<train::Task> make_reward_task(model::Scorer& model, const ScorerCopier& copy, const Objective& objective, std::vector<std::string> aspects, ComparisonData train,
                                              ComparisonData valid, const RewardTaskOptions& options, const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks);

}  // namespace seqmill::align
