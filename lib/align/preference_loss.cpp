#include "align/preference_loss.h"

#include <algorithm>

#include "model/types.h"

namespace seqmill::align {

std::unique_ptr<PreferenceLoss> declare_preference_loss(Options& options, std::string& type) {
  options.group("Loss");
  const auto& registry = Registry<PreferenceLossType>::instance();
  const std::vector<std::string> known = registry.names();
  options.add("loss.type", type, "What is learned from a pair; the options below are those of the loss chosen").one_of(known).flag("loss");
  // A flag comes before what a configuration says. An unknown name is reported when the option is set, which knows file and line.
  const std::string chosen = options.preview("loss", options.preview("loss.type", type));
  const bool is_known = std::find(known.begin(), known.end(), chosen) != known.end();
  std::unique_ptr<PreferenceLoss> loss = registry.get(is_known ? chosen : type).make();
  loss->declare(options);
  return loss;
}

std::string list_preference_losses() { return model::list_types<PreferenceLossType>(); }

at::Tensor log_ratio(const AnswerLogprobs& answers) { return answers.policy - answers.reference; }

at::Tensor mean_logprob(const AnswerLogprobs& answers) { return answers.policy / answers.tokens; }

}  // namespace seqmill::align
