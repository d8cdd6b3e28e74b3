#include "model/torch_lm.h"

#include "base/error.h"
#include "base/threads.h"
#include "io/run_dir.h"
#include "model/lm_load.h"
#include "model/load.h"
#include "tensor/runtime.h"

namespace seqmill::model {
namespace {

/// A model that was loaded, with the view of it.
class OwnedLm final : public infer::LanguageModel {
 public:
  explicit OwnedLm(std::unique_ptr<Lm> model) : model_(std::move(model)), view_(*model_) {}
  int64_t vocabulary_size() const override { return view_.vocabulary_size(); }
  int64_t max_positions() const override { return view_.max_positions(); }
  std::unique_ptr<infer::SequenceDecoder> start(int threads) const override { return view_.start(threads); }
  std::vector<double> score(const std::vector<infer::Tokens>& sequences, int threads) const override { return view_.score(sequences, threads); }

 private:
  std::unique_ptr<Lm> model_;
  TorchLm view_;
};

/// The threads of LibTorch's pool belong to the process: a caller that computes alone says so, one that may use more has set that up.
void compute_with(int threads) {
  if (threads <= 1) tensor::limit_thread_to_itself();
}

}  // namespace

std::unique_ptr<infer::SequenceDecoder> TorchLm::start(int threads) const {
  compute_with(threads);
  return model_.start();
}

std::vector<double> TorchLm::score(const std::vector<infer::Tokens>& sequences, int threads) const {
  compute_with(threads);
  std::vector<data::Tokens> inputs;
  std::vector<int64_t> targets;
  for (const infer::Tokens& sequence : sequences) {
    if (sequence.size() < 2) continue;
    inputs.emplace_back(sequence.begin(), sequence.end() - 1);
    targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
  }
  if (targets.empty()) return {};
  data::PackedTokens packed = data::pack(inputs, -1, -1);
  const at::Device device = model_.output_layer().weight.device();
  packed.to(device);
  const at::Tensor logprobs = model_.target_logprobs(packed, {}, at::tensor(targets, at::kLong).to(device)).to(at::kCPU, at::kDouble).contiguous();
  return {logprobs.data_ptr<double>(), logprobs.data_ptr<double>() + logprobs.numel()};
}

infer::LoadedLanguageModel load_torch_lm(const std::string& path, int64_t average, const std::string& device) {
  const at::Device place = tensor::parse_device(device);
  refuse_integers(io::find_model(path).weights, "LibTorch does not decode; use --backend engine");
  LoadedLm loaded = load_lm(path, average);
  loaded.model->parameters().to(place);
  return {std::make_unique<OwnedLm>(std::move(loaded.model)), std::move(loaded.tokenizer), loaded.config.chat_template};
}

}  // namespace seqmill::model
