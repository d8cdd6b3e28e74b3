#include "align/margin_loss.h"

namespace seqmill::align {
namespace {

/// max(0, 1 - margin): the rank calibration loss on implicit rewards, so that the reference takes the place of the paper's regularisation.
class Hinge final : public MarginLoss {
  at::Tensor of_margin(const at::Tensor& margin) const override { return (1 - margin).clamp_min(0); }
};

const Registration<PreferenceLossType> registered{
    "hinge", {"Zhao et al., 2023, SLiC-HF: Sequence Likelihood Calibration with Human Feedback", [] { return std::make_unique<Hinge>(); }}};

}  // namespace
}  // namespace seqmill::align
