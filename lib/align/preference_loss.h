#pragma once
// What a language model learns from an answer that is preferred to another. A loss is a function of the answers' log-probabilities; each is one file beside this one.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

#include "base/options.h"
#include "base/registry.h"

namespace seqmill::align {

/// Answers, one of each pair [B], all of one floating type.
struct AnswerLogprobs {
  at::Tensor policy;     ///< log p(answer | prompt) of the model that is trained, summed over tokens; with a graph in training
  at::Tensor reference;  ///< the same of the reference model, without; undefined where there is none
  at::Tensor tokens;     ///< how many tokens these are sums of, at least 1
};

struct PreferenceBatch {
  AnswerLogprobs chosen, rejected;
  AnswerLogprobs mismatched;  ///< of the whole batch that these pairs may be a part of: answers to other prompts, for losses that need them; without graph
};

struct PreferenceValues {
  at::Tensor losses;                            ///< [B]
  at::Tensor chosen_rewards, rejected_rewards;  ///< [B], what the loss takes for rewards, without graph
};

class PreferenceLoss {
 public:
  virtual ~PreferenceLoss() = default;
  virtual void declare(Options& options) = 0;  ///< keys "loss.<name>"
  virtual bool needs_reference() const { return true; }
  virtual bool needs_mismatched() const { return false; }
  virtual PreferenceValues of(const PreferenceBatch& batch) const = 0;
};

/// An entry of the registry of losses.
struct PreferenceLossType {
  static const char* kind() { return "preference loss"; }
  std::string paper;
  std::function<std::unique_ptr<PreferenceLoss>()> make;
};

/// Declares "loss.type", on the command line --loss, and the options of the loss that the user chose.
std::unique_ptr<PreferenceLoss> declare_preference_loss(Options& options, std::string& type);

/// "name  paper" lines for --list-losses.
std::string list_preference_losses();

/// log(p / p_reference) of each answer: what, times beta, is the implicit reward of Rafailov et al., 2023, section 4, but for a term of the prompt.
at::Tensor log_ratio(const AnswerLogprobs& answers);
/// log p of each answer per token.
at::Tensor mean_logprob(const AnswerLogprobs& answers);

}  // namespace seqmill::align
