#include "rl/policy.h"

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "loss/cross_entropy.h"
#include "tensor/linear.h"

namespace seqmill::rl {
namespace {

/// A linear function of the states that tokens are predicted from.
struct ValueHead {
  at::Tensor weight, bias;

  ValueHead(nn::Parameters& parameters, int64_t dim, bool is_wanted) {
    if (!is_wanted) return;
    weight = parameters.add(io::kValueWeight, {1, dim}, nn::Init::constant(0), true);
    bias = parameters.add(io::kValueBias, {1}, nn::Init::constant(0), false);
  }

  at::Tensor operator()(const at::Tensor& states) const { return weight.defined() ? tensor::linear(states, weight, bias).squeeze(1) : at::Tensor(); }
};

/// What a model of either kind is as a policy: `Model` gives an output layer and parameters.
template <typename Model>
class ModelPolicy : public Policy {
 public:
  ModelPolicy(std::shared_ptr<Model> model, bool with_values)
      : model_(std::move(model)), values_(model_->parameters(), model_->output_layer().weight.size(1), with_values) {}
  nn::Parameters& parameters() override { return model_->parameters(); }
  model::OutputLayer output_layer() const override { return model_->output_layer(); }

 protected:
  TokenScores scores(const at::Tensor& states, const at::Tensor& targets) const {
    const model::OutputLayer output = model_->output_layer();
    return {loss::token_logprobs(states, output.weight, output.bias, targets), values_(states)};
  }

  const std::shared_ptr<Model> model_;

 private:
  const ValueHead values_;
};

class TranslationPolicy final : public ModelPolicy<model::Seq2Seq> {
 public:
  TranslationPolicy(std::shared_ptr<model::Seq2Seq> model, int32_t source_eos, int32_t bos, bool with_values)
      : ModelPolicy(std::move(model), with_values), source_eos_(source_eos), bos_(bos) {}

  TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const override {
    data::Batch batch = data::make_batch(inputs, source_eos_, bos_);
    batch.to(output_layer().weight.device());
    return scores(model_->features(batch, stream), batch.target_output);
  }

 private:
  const int32_t source_eos_, bos_;
};

class LanguagePolicy final : public ModelPolicy<model::Lm> {
 public:
  LanguagePolicy(std::shared_ptr<model::Lm> model, bool with_values) : ModelPolicy(std::move(model), with_values) { model_->check_predicts(); }

  TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const override {
    data::TreeBatch batch = data::make_tree_batch(inputs, data::LastTokens::kPredicted);
    batch.to(output_layer().weight.device());
    return scores(model_->features(batch.input, stream).index_select(0, batch.rows), batch.targets);
  }
};

}  // namespace

std::unique_ptr<Policy> make_policy(std::shared_ptr<model::Seq2Seq> model, int32_t source_eos, int32_t bos, bool with_values) {
  return std::make_unique<TranslationPolicy>(std::move(model), source_eos, bos, with_values);
}

std::unique_ptr<Policy> make_policy(std::shared_ptr<model::Lm> model, bool with_values) { return std::make_unique<LanguagePolicy>(std::move(model), with_values); }

}  // namespace seqmill::rl
