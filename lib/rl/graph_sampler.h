#pragma once
// One-stage sampling, the baseline that two stages are held against: candidates are drawn within the graph of the training, which keeps every step until the backward pass.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "infer/vocabularies.h"
#include "model/seq2seq.h"
#include "rl/sampler.h"

namespace seqmill::rl {

class GraphSampler final : public Sampler {
 public:
  /// `greedy` draws what has temperature 0. Model and vocabularies must outlive it.
  GraphSampler(const model::Seq2Seq& model, const infer::Vocabularies& vocabularies, const SamplingOptions& options, std::unique_ptr<Sampler> greedy);

  void take_weights() override { greedy_->take_weights(); }
  int64_t vocabulary_size() const override { return vocabularies_.target->size(); }
  /// With the random numbers of the other samplers. All draws are greedy, or none is.
  std::vector<std::vector<Drawn>> draw(const std::vector<Draw>& draws, uint64_t seed, int threads) override;

  /// Of the candidates drawn last, one after another: log-probabilities of their tokens [M], with the graph; it is given away.
  at::Tensor take_logprobs() { return std::move(logprobs_); }

 private:
  const model::Seq2Seq& model_;
  const infer::Vocabularies& vocabularies_;
  const SamplingOptions options_;
  const std::unique_ptr<Sampler> greedy_;
  at::Tensor logprobs_;
};

}  // namespace seqmill::rl
