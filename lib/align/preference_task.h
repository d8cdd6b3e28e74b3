#pragma once
// Training a language model on preferences.

#include <functional>
#include <memory>
#include <string>

#include "align/comparison_files.h"
#include "align/preference_data.h"
#include "align/preference_loss.h"
#include "align/reference.h"
#include "align/tree_task.h"
#include "model/lm.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "train/task.h"

namespace seqmill::align {

struct PreferenceTaskOptions {
  ComparisonFiles data;
  TreeTaskOptions batches;
  bool measure_kl = false;  ///< ask the reference for losses, too, that do not need it

  void declare(Options& options);
};

/// What a preference task works with; all of it must outlive the task.
struct PreferenceSetting {
  model::Lm& model;  ///< of a new run as it begins: it is the reference too
  std::function<std::unique_ptr<model::Lm>()> copy;  ///< another model of the same shape, its weights unset
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate& frame;
  const PreferenceLoss& loss;
  ReferenceModel reference;
  std::string run;  ///< the folder of the run
  uint64_t seed = 1;
  bool progress = false;
};

/// Losses are averaged over pairs. Measures, of training and of validation, are means over pairs too: "accuracy" (the chosen reward is larger), "margin" of rewards,
/// "chosen-logprob", "rejected-logprob", "chosen-reward", "rejected-reward", "chosen-tokens", "rejected-tokens", and with a reference "kl", which is the mean of log(p / p_reference)
/// over the chosen and the rejected answer: an estimate of the divergence on the answers of the data, not on the model's own.
std::unique_ptr<train::Task> make_preference_task(const PreferenceSetting& setting, const PreferenceTaskOptions& options, train::Ranks& ranks);

}  // namespace seqmill::align
