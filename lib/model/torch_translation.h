#pragma once
// LibTorch models behind the interface that translating uses.

#include "infer/translation_model.h"
#include "model/seq2seq.h"

namespace seqmill::model {

/// A view of `model`, which must outlive it.
class TorchTranslation final : public infer::TranslationModel {
 public:
  explicit TorchTranslation(const Seq2Seq& model) : model_(model) {}
  int64_t max_positions() const override { return model_.max_positions(); }
  void begin_worker() const override;
  std::unique_ptr<search::StepDecoder> start(const std::vector<infer::Tokens>& sources) const override;
  std::vector<double> score(const std::vector<infer::Tokens>& sources, const std::vector<infer::Tokens>& targets) const override;

 private:
  const Seq2Seq& model_;
};

}  // namespace seqmill::model
