#pragma once

#include <memory>

#include "model/lm.h"
#include "tensor/embedding.h"

namespace seqmill::test {

/// A language model that sees one token: an embedding and an output layer.
class BigramLm final : public model::Lm {
 public:
  explicit BigramLm(int64_t vocabulary, std::optional<uint64_t> seed = 1, int64_t positions = 32) : parameters_(seed), positions_(positions) {
    const nn::Scope root(parameters_);
    embedding_ = root.parameter("embedding", {vocabulary, 16}, nn::Init::normal(0.5));
    output_ = root.matrix("output", vocabulary, 16);
  }

  nn::Parameters& parameters() override { return parameters_; }
  model::OutputLayer output_layer() const override { return {output_, {}}; }
  int64_t max_positions() const override { return positions_; }
  at::Tensor features(const data::PackedTokens& input, tensor::DropoutStream*) const override { return tensor::embed(embedding_, input.tokens, 1); }
  void set_checkpointing(bool) override {}
  std::unique_ptr<infer::SequenceDecoder> start() const override { return nullptr; }

 private:
  nn::Parameters parameters_;
  int64_t positions_;
  at::Tensor embedding_, output_;
};

}  // namespace seqmill::test
