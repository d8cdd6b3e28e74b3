#include "model/scorer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "infer/lm_engine.h"
#include "io/run_dir.h"
#include "io/safetensors.h"
#include "model/pooling.h"
#include "tensor/linear.h"
#include "tensor/weights.h"

namespace seqmill::model {
namespace {

class LinearHead final : public ScoreHead {
 public:
  LinearHead(nn::Parameters& parameters, int64_t heads, int64_t dim)
      : weight_(parameters.add(infer::kScoreHead, {heads, dim}, nn::Init::normal(1 / std::sqrt(static_cast<double>(dim + 1))), true)) {}

  at::Tensor scores(const at::Tensor& states) const override { return tensor::linear(states, weight_); }

 private:
  at::Tensor weight_;
};

}  // namespace

ScoreHeadMaker linear_head(int64_t heads) {
  return [heads](nn::Parameters& parameters, int64_t dim) { return std::make_unique<LinearHead>(parameters, heads, dim); };
}

Scorer::Scorer(std::unique_ptr<Lm> lm, infer::Pooling pooling, const ScoreHeadMaker& make_head)
    : lm_(std::move(lm)), pooling_(pooling), head_(make_head(lm_->parameters(), lm_->output_layer().weight.size(1))) {}

at::Tensor Scorer::scores(const at::Tensor& states, const data::TreeBatch& batch) const { return head_->scores(pooled(states, batch, pooling_)); }

void Scorer::freeze_lm() {
  parameters().train_only(infer::is_score_head);
  lm_learns_ = false;
}

void Scorer::leave_output_layer() {
  std::set<std::string> learned;
  for (const nn::Parameter& parameter : parameters().trained()) learned.insert(parameter.name);
  learned.erase("lm_head.weight");
  parameters().train_only([&](const std::string& name) { return learned.count(name) > 0; });
}

bool initialise_head_from(const std::string& path, Scorer& scorer) {
  const std::string file = io::find_model(path).weights;
  const io::WeightFiles weights(file);
  std::vector<tensor::NamedTensor> targets;
  for (const tensor::NamedTensor& target : scorer.parameters().named()) {
    if (infer::is_score_head(target.first)) targets.push_back(target);
  }
  if (std::none_of(targets.begin(), targets.end(), [&](const tensor::NamedTensor& target) { return weights.find(target.first) != nullptr; })) return false;
  at::NoGradGuard no_grad;
  const tensor::PartialLoad load = tensor::load_matching(file, targets);
  if (load.taken.size() != targets.size()) fail("{}: {}", path, load.not_taken.empty() ? "its head is another one" : load.not_taken.front());
  return true;
}

}  // namespace seqmill::model
