#include "model/torch_translation.h"

#include "base/error.h"
#include "infer/backend.h"
#include "io/run_dir.h"
#include "model/load.h"
#include "model/torch_lm.h"
#include "tensor/runtime.h"

namespace seqmill::model {
namespace {

/// A model that was loaded, with the view of it.
class OwnedTranslation final : public infer::TranslationModel {
 public:
  explicit OwnedTranslation(std::unique_ptr<Seq2Seq> model) : model_(std::move(model)), view_(*model_) {}
  int64_t max_positions() const override { return view_.max_positions(); }
  void begin_worker() const override { view_.begin_worker(); }
  std::unique_ptr<search::StepDecoder> start(const std::vector<infer::Tokens>& sources) const override { return view_.start(sources); }
  std::vector<double> score(const std::vector<infer::Tokens>& sources, const std::vector<infer::Tokens>& targets) const override {
    return view_.score(sources, targets);
  }

 private:
  std::unique_ptr<Seq2Seq> model_;
  TorchTranslation view_;
};

infer::LoadedModel load_on_device(const std::string& path, int64_t average, const std::string& device) {
  const at::Device place = tensor::parse_device(device);
  refuse_integers(io::find_model(path).weights, "LibTorch does not decode; use --backend engine");
  LoadedSeq2Seq loaded = load_seq2seq(path, average);
  loaded.model->parameters().to(place);
  return {std::make_unique<OwnedTranslation>(std::move(loaded.model)), std::move(loaded.vocabularies)};
}

}  // namespace

void TorchTranslation::begin_worker() const { tensor::limit_thread_to_itself(); }

std::unique_ptr<search::StepDecoder> TorchTranslation::start(const std::vector<infer::Tokens>& sources) const {
  data::PackedTokens packed = data::pack(sources, -1, -1);
  packed.to(model_.output_layer().weight.device());
  return model_.start(packed);
}

std::vector<double> TorchTranslation::score(const std::vector<infer::Tokens>& sources, const std::vector<infer::Tokens>& targets) const {
  if (sources.empty()) return {};
  const auto inner = [](const infer::Tokens& tokens, int begin) { return data::Tokens(tokens.begin() + begin, tokens.end() - 1); };
  std::vector<data::Tokens> bare_sources, bare_targets;
  for (const infer::Tokens& source : sources) bare_sources.push_back(inner(source, 0));
  for (const infer::Tokens& target : targets) bare_targets.push_back(inner(target, 1));
  data::Batch batch = data::make_batch(bare_sources, bare_targets, sources[0].back(), targets[0].front(), targets[0].back());
  batch.to(model_.output_layer().weight.device());
  const at::Tensor logprobs = model_.target_logprobs(batch).to(at::kCPU, at::kDouble).contiguous();
  return {logprobs.data_ptr<double>(), logprobs.data_ptr<double>() + logprobs.numel()};
}

}  // namespace seqmill::model

const seqmill::infer::TorchLibrary* seqmill_torch_library() {
  static const seqmill::infer::TorchLibrary library{seqmill::tensor::set_up_runtime, seqmill::model::load_on_device, seqmill::model::load_torch_lm};
  return &library;
}
