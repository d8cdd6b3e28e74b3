#include "model/lm.h"

#include "base/error.h"
#include "model/types.h"

namespace seqmill::model {
namespace {

at::Tensor chosen(const at::Tensor& hidden, const at::Tensor& rows) { return rows.defined() ? hidden.index_select(0, rows) : hidden; }

}  // namespace

void Lm::check_predicts() const {
  if (sees_all()) fail_usage("model.context full: a model that sees whole texts can learn to score them (rm-train with a scalar objective), and predicts no tokens");
}

loss::TokenLoss Lm::loss(const data::PackedTokens& input, const at::Tensor& rows, const at::Tensor& targets, double label_smoothing,
                         tensor::DropoutStream* stream) const {
  const OutputLayer output = output_layer();
  return loss::label_smoothed_cross_entropy(chosen(features(input, stream), rows), output.weight, output.bias, targets, label_smoothing);
}

at::Tensor Lm::target_logprobs(const data::PackedTokens& input, const at::Tensor& rows, const at::Tensor& targets) const {
  at::NoGradGuard no_grad;
  const OutputLayer output = output_layer();
  return -loss::token_nll(chosen(features(input, nullptr), rows), output.weight, output.bias, targets);
}

std::unique_ptr<LmConfig> declare_lm(Options& options, std::string& type) { return declare_type<LmType>(options, type); }

std::unique_ptr<LmConfig> declare_lm(Options& options, std::string& type, const infer::ModelConfig& defaults) {
  std::unique_ptr<LmConfig> theirs;
  defaults.apply([&](Options& own) { theirs = declare_lm(own, type); });
  return declare_type<LmType>(options, type, std::move(theirs));
}

std::string list_lms() { return list_types<LmType>(); }

}  // namespace seqmill::model
