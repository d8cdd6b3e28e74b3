#include "model/estimator.h"

#include <ATen/ATen.h>

#include "infer/estimator_head.h"
#include "tensor/linear.h"

namespace seqmill::model {
namespace {

class EstimatorHead final : public ScoreHead {
 public:
  EstimatorHead(nn::Parameters& parameters, int64_t dim, bool with_reference, std::vector<int64_t> widths) : with_reference_(with_reference) {
    int64_t inputs = (with_reference ? 6 : 4) * dim;
    for (size_t i = 0; i < widths.size(); ++i) {
      weights_.push_back(parameters.add(infer::estimator_weight(i), {widths[i], inputs}, nn::Init::xavier(inputs, widths[i]), true));
      biases_.push_back(parameters.add(infer::estimator_bias(i), {widths[i]}, nn::Init::constant(0), false));
      inputs = widths[i];
    }
  }

  int64_t texts() const override { return with_reference_ ? 3 : 2; }

  at::Tensor scores(const at::Tensor& states) const override {
    const at::Tensor by_text = states.view({-1, texts(), states.size(1)});
    at::Tensor x = estimator_features(by_text.select(1, 1), by_text.select(1, 0), with_reference_ ? by_text.select(1, 2) : at::Tensor());
    for (size_t i = 0; i < weights_.size(); ++i) {
      x = tensor::linear(x, weights_[i], biases_[i]);
      if (i + 1 < weights_.size()) x = x.tanh();
    }
    return x;
  }

 private:
  bool with_reference_;
  std::vector<at::Tensor> weights_, biases_;
};

}  // namespace

at::Tensor estimator_features(const at::Tensor& h, const at::Tensor& s, const at::Tensor& r) {
  if (!r.defined()) return at::cat({h, s, h * s, (h - s).abs()}, 1);
  return at::cat({h, r, h * s, h * r, (h - s).abs(), (h - r).abs()}, 1);
}

ScoreHeadMaker estimator_head(int64_t heads, bool with_reference, const std::vector<int64_t>& hidden) {
  std::vector<int64_t> widths = hidden;
  widths.push_back(heads);
  return [with_reference, widths](nn::Parameters& parameters, int64_t dim) { return std::make_unique<EstimatorHead>(parameters, dim, with_reference, widths); };
}

}  // namespace seqmill::model
