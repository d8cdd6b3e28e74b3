#include "align/margin_loss.h"

namespace seqmill::align {
namespace {

/// Equation 7: -log sigma(beta log(p / p_reference)(chosen) - beta log(p / p_reference)(rejected)).
class Dpo final : public MarginLoss {
  at::Tensor of_margin(const at::Tensor& margin) const override { return -at::log_sigmoid(margin); }
};

const Registration<PreferenceLossType> registered{
    "dpo",
    {"Rafailov et al., 2023, Direct Preference Optimization: Your Language Model is Secretly a Reward Model", [] { return std::make_unique<Dpo>(); }}};

}  // namespace
}  // namespace seqmill::align
