#pragma once
// Training a generative judge (GRAM, "A Generative Foundation Reward Model for Reward Generalization", ICML 2025): a language model that answers a question about two answers with a label.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "align/comparison_data.h"
#include "align/objective.h"
#include "align/tree_task.h"
#include "model/lm.h"

namespace seqmill::align {

struct JudgeTaskOptions {
  int64_t stage = 2;                ///< 1: both answers behind their prompt, without a verdict; 2: the label
  std::string learn = "both";       ///< of stage 1: both answers, or the second one alone, behind the first
  std::string softmax = "labels";   ///< what a label's probability is normalised over: labels (both of them), vocabulary
  std::string sides = "random";     ///< of training questions: random, both, given
  Smoothing smoothing;
  text::JudgeOptions judge;

  void declare(Options& options);
  void check() const;
};

/// The loss of stage 2 for d = logit of the right label - logit of the other [M]: bradley_terry(d, eps). Over the vocabulary it is larger by -log of the share of both labels in it.
/// `all_logits_nll` [M] or undefined: -log p(right label) over the vocabulary.
at::Tensor judge_losses(const at::Tensor& differences, const at::Tensor& all_logits_nll, double eps);

using LmCopier = std::function<std::unique_ptr<model::Lm>()>;

/// `train` of frame_questions or frame_pair_texts, as the stage has it; `valid` of frame_questions with Sides::kBoth in stage 2. A validation of stage 2 gives "loss"; of the mean of
/// both orders (GRAM's reward) "accuracy", "ece", "brier"; "order-consistency", the share of pairs of which both orders name the same answer; "accuracy-one-order"; "margin", the mean of |d|.
std::unique_ptr<train::Task> make_judge_task(model::Lm& model, const LmCopier& copy, const text::Judge& judge, ComparisonData train, ComparisonData valid,
                                             const JudgeTaskOptions& options, const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks);

}  // namespace seqmill::align
