#pragma once
// LibTorch language models behind the interface that generating and scoring use.

#include "infer/language_model.h"
#include "model/lm.h"

namespace seqmill::model {

/// A view of `model`, which must outlive it.
class TorchLm final : public infer::LanguageModel {
 public:
  /// States are computed of so many tokens at a time, besides the text or prompt that comes first.
  explicit TorchLm(const Lm& model, int64_t batch_tokens = 4096) : model_(model), batch_tokens_(batch_tokens) {}
  int64_t vocabulary_size() const override { return model_.output_layer().weight.size(0); }
  int64_t max_positions() const override { return model_.max_positions(); }
  std::unique_ptr<infer::SequenceDecoder> start(int threads) const override;
  std::vector<double> score(const std::vector<infer::Tokens>& sequences, int threads) const override;
  int64_t dim() const override { return model_.output_layer().weight.size(1); }
  std::vector<float> last_states(const std::vector<Tree>& trees, int threads) const override { return pooled_states(trees, infer::Pooling::kLast, threads); }
  std::vector<float> mean_states(const std::vector<Tree>& trees, int threads) const override { return pooled_states(trees, infer::Pooling::kMean, threads); }
  std::vector<float> output_row(int32_t token) const override;

 private:
  std::vector<float> pooled_states(const std::vector<Tree>& trees, infer::Pooling pooling, int threads) const;
  std::vector<float> states_of(const std::vector<Tree>& trees, infer::Pooling pooling) const;

  const Lm& model_;
  const int64_t batch_tokens_;
};

/// The model at `path` on a device: see infer/lm_backend.h.
infer::LoadedLanguageModel load_torch_lm(const std::string& path, int64_t average, const std::string& device);

}  // namespace seqmill::model
