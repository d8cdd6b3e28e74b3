#include "rl/policy.h"

#include <ATen/ATen.h>

#include "loss/cross_entropy.h"

namespace seqmill::rl {
namespace {

TokenScores score(const at::Tensor& states, const model::OutputLayer& output, const at::Tensor& targets) {
  return {loss::token_logprobs(states, output.weight, output.bias, targets), states};
}

class TranslationPolicy final : public Policy {
 public:
  TranslationPolicy(model::Seq2Seq& model, int32_t source_eos, int32_t bos) : model_(model), source_eos_(source_eos), bos_(bos) {}
  nn::Parameters& parameters() override { return model_.parameters(); }
  int64_t dim() const override { return model_.output_layer().weight.size(1); }

  TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const override {
    data::Batch batch = data::make_batch(inputs, source_eos_, bos_);
    batch.to(model_.output_layer().weight.device());
    return rl::score(model_.features(batch, stream), model_.output_layer(), batch.target_output);
  }

 private:
  model::Seq2Seq& model_;
  const int32_t source_eos_, bos_;
};

class LanguagePolicy final : public Policy {
 public:
  explicit LanguagePolicy(model::Lm& model) : model_(model) { model.check_predicts(); }
  nn::Parameters& parameters() override { return model_.parameters(); }
  int64_t dim() const override { return model_.output_layer().weight.size(1); }

  TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const override {
    data::TreeBatch batch = data::make_tree_batch(inputs, data::LastTokens::kPredicted);
    batch.to(model_.output_layer().weight.device());
    return rl::score(model_.features(batch.input, stream).index_select(0, batch.rows), model_.output_layer(), batch.targets);
  }

 private:
  model::Lm& model_;
};

}  // namespace

std::unique_ptr<Policy> make_policy(model::Seq2Seq& model, int32_t source_eos, int32_t bos) { return std::make_unique<TranslationPolicy>(model, source_eos, bos); }

std::unique_ptr<Policy> make_policy(model::Lm& model) { return std::make_unique<LanguagePolicy>(model); }

}  // namespace seqmill::rl
