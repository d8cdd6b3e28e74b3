#include "align/margin_loss.h"

namespace seqmill::align {

void MarginLoss::declare(Options& options) {
  options.add("loss.beta", beta_, "Scale of implicit rewards beta log(p / p_reference): the larger, the closer the model stays to the reference").range(1e-6);
}

PreferenceValues MarginLoss::of(const PreferenceBatch& batch) const {
  const at::Tensor chosen = reward(batch.chosen), rejected = reward(batch.rejected);
  return {of_margin(chosen - rejected), chosen.detach(), rejected.detach()};
}

at::Tensor MarginLoss::reward(const AnswerLogprobs& answers) const { return beta_ * log_ratio(answers); }

}  // namespace seqmill::align
