// As bradley_terry.cpp, with a lead that the better answer must have.

#include <ATen/ATen.h>

#include "align/objective.h"

namespace seqmill::align {

at::Tensor bradley_terry_with_margin(const at::Tensor& differences, const at::Tensor& margins) { return -at::log_sigmoid(differences - margins); }

namespace {

class Margin final : public Objective {
 public:
  void declare(Options& options) override {
    options.add("objective.margin", margin_, "The lead that every better answer must have; 0: what its record says, the difference of scores or \"margin\"").range(0);
    options.add("objective.margin-scale", scale_, "What records say is multiplied by this").range(0);
  }

  at::Tensor losses(const ScoredBatch& batch) const override {
    const ScoredPairs pairs = pairs_of(batch);
    const at::Tensor margins = margin_ > 0 ? at::full_like(pairs.margins, margin_) : pairs.margins * scale_;
    return mean_by_comparison(batch, pairs, bradley_terry_with_margin(pairs.differences, margins));
  }

 private:
  double margin_ = 0, scale_ = 1;
};

const Registration<ObjectiveType> registered{"margin", {"Touvron et al., 2023, Llama 2: Open Foundation and Fine-Tuned Chat Models", [] { return std::make_unique<Margin>(); }}};

}  // namespace
}  // namespace seqmill::align
