#include "model/scorer.h"

#include <cmath>
#include <set>

#include "base/error.h"
#include "infer/lm_engine.h"
#include "io/run_dir.h"
#include "io/safetensors.h"
#include "tensor/linear.h"
#include "tensor/weights.h"

namespace seqmill::model {

Scorer::Scorer(std::unique_ptr<Lm> lm, int64_t heads) : lm_(std::move(lm)) {
  const int64_t dim = lm_->output_layer().weight.size(1);
  head_ = lm_->parameters().add(infer::kScoreHead, {heads, dim}, nn::Init::normal(1 / std::sqrt(static_cast<double>(dim + 1))), true);
}

at::Tensor Scorer::scores(const at::Tensor& states) const { return tensor::linear(states, head_); }

void Scorer::freeze_lm() {
  parameters().train_only([](const std::string& name) { return name == infer::kScoreHead; });
}

void Scorer::leave_output_layer() {
  std::set<std::string> learned;
  for (const nn::Parameter& parameter : parameters().trained()) learned.insert(parameter.name);
  learned.erase("lm_head.weight");
  parameters().train_only([&](const std::string& name) { return learned.count(name) > 0; });
}

bool Scorer::lm_learns() const { return lm_->parameters().trained().size() > 1; }

bool initialise_head_from(const std::string& path, Scorer& scorer) {
  const std::string file = io::find_model(path).weights;
  if (!io::WeightFiles(file).find(infer::kScoreHead)) return false;
  for (const tensor::NamedTensor& target : scorer.parameters().named()) {
    if (target.first != infer::kScoreHead) continue;
    at::NoGradGuard no_grad;
    const tensor::PartialLoad load = tensor::load_matching(file, {target});
    if (load.taken.size() != 1) fail("{}: {}", path, load.not_taken.empty() ? "its head cannot be read" : load.not_taken.front());
  }
  return true;
}

}  // namespace seqmill::model
