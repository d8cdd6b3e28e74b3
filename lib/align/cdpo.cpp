#include "align/margin_loss.h"

namespace seqmill::align {
namespace {

/// DPO of labels that are wrong with probability eps: (1 - eps) -log sigma(margin) + eps -log sigma(-margin). The best margin is log((1 - eps) / eps).
class Cdpo final : public MarginLoss {
 public:
  void declare(Options& options) override {
    MarginLoss::declare(options);
    options.add("loss.eps", eps_, "Probability that a label is wrong; 0 is dpo").range(0, 0.5);
  }

 private:
  at::Tensor of_margin(const at::Tensor& margin) const override { return -(1 - eps_) * at::log_sigmoid(margin) - eps_ * at::log_sigmoid(-margin); }

  double eps_ = 0.1;
};

const Registration<PreferenceLossType> registered{
    "cdpo", {"Mitchell, 2023, A note on DPO with noisy preferences & relationship to IPO", [] { return std::make_unique<Cdpo>(); }}};

}  // namespace
}  // namespace seqmill::align
