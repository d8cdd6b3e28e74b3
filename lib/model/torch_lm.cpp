#include "model/torch_lm.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/threads.h"
#include "data/prompt_trees.h"
#include "io/run_dir.h"
#include "model/lm_load.h"
#include "model/load.h"
#include "model/pooling.h"
#include "tensor/runtime.h"

namespace seqmill::model {
namespace {

/// A model that was loaded, with the view of it.
class OwnedLm final : public infer::LanguageModel {
 public:
  OwnedLm(std::unique_ptr<Lm> model, bool has_output) : model_(std::move(model)), view_(*model_), has_output_(has_output) {}
  int64_t vocabulary_size() const override { return view_.vocabulary_size(); }
  int64_t max_positions() const override { return view_.max_positions(); }
  int64_t dim() const override { return view_.dim(); }
  std::unique_ptr<infer::SequenceDecoder> start(int threads) const override { return with_output().start(threads); }
  std::vector<double> score(const std::vector<infer::Tokens>& sequences, int threads) const override { return with_output().score(sequences, threads); }
  std::vector<float> last_states(const std::vector<Tree>& trees, int threads) const override { return view_.last_states(trees, threads); }
  std::vector<float> mean_states(const std::vector<Tree>& trees, int threads) const override { return view_.mean_states(trees, threads); }
  std::vector<float> output_row(int32_t token) const override { return with_output().output_row(token); }

 private:
  const TorchLm& with_output() const {
    if (!has_output_) fail("this reward model has no output layer (lm_head.weight): it gives scores, and no probabilities of tokens");
    return view_;
  }

  std::unique_ptr<Lm> model_;
  TorchLm view_;
  bool has_output_;
};

/// Rows [count, dim] on the CPU.
std::vector<float> numbers_of(const at::Tensor& tensor) {
  const at::Tensor numbers = tensor.to(at::kCPU, at::kFloat).contiguous();
  return {numbers.data_ptr<float>(), numbers.data_ptr<float>() + numbers.numel()};
}

infer::EstimatorHead estimator_of(const LoadedLm& loaded) {
  const std::map<std::string, at::Tensor> tensors(loaded.estimator.begin(), loaded.estimator.end());
  std::vector<infer::EstimatorHead::Layer> layers;
  for (size_t i = 0; tensors.count(infer::estimator_weight(i)) > 0; ++i) {
    const at::Tensor& weight = tensors.at(infer::estimator_weight(i));
    const auto bias = tensors.find(infer::estimator_bias(i));
    if (weight.dim() != 2) fail("{}: shape of {} dimensions, expected 2", infer::estimator_weight(i), weight.dim());
    if (bias == tensors.end() || bias->second.numel() != weight.size(0)) fail("{} is missing, or has other than {} numbers", infer::estimator_bias(i), weight.size(0));
    layers.push_back({weight.size(1), weight.size(0), numbers_of(weight), numbers_of(bias->second)});
  }
  if (tensors.size() != 2 * layers.size()) fail("{} tensors of a metric's head, expected a weight and a bias of each layer: {}", tensors.size(), tensors.begin()->first);
  return layers.empty() ? infer::EstimatorHead() : infer::EstimatorHead(std::move(layers), loaded.model->output_layer().weight.size(1));
}

int64_t size_of(const infer::Tokens& tokens) { return static_cast<int64_t>(tokens.size()); }

/// Trees in parts of so many tokens, besides the prompt that a part begins with, but of one text at least; in their order. A tree in several parts has its prompt in each.
std::vector<std::vector<infer::LanguageModel::Tree>> parts_of(const std::vector<infer::LanguageModel::Tree>& trees, int64_t most) {
  std::vector<std::vector<infer::LanguageModel::Tree>> parts;
  int64_t tokens = 0;  // of the last part
  const auto begin = [&](const infer::Tokens& prompt, const infer::Tokens* ending) {
    const bool fits = !parts.empty() && tokens + size_of(prompt) + (ending ? size_of(*ending) : 0) <= most;
    tokens = fits ? tokens + size_of(prompt) : 0;
    if (!fits) parts.emplace_back();
    parts.back().push_back({prompt, {}});
  };
  for (const infer::LanguageModel::Tree& tree : trees) {
    begin(tree.prompt, tree.endings.empty() ? nullptr : &tree.endings[0]);
    for (const infer::Tokens& ending : tree.endings) {
      if (!parts.back().back().endings.empty() && tokens + size_of(ending) > most) begin(tree.prompt, &ending);
      parts.back().back().endings.push_back(ending);
      tokens += size_of(ending);
    }
  }
  return parts;
}

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

std::vector<float> TorchLm::pooled_states(const std::vector<Tree>& trees, infer::Pooling pooling, int threads) const {
  compute_with(threads);
  const auto check = [&](size_t tokens) {
    if (static_cast<int64_t>(tokens) > max_positions()) fail("a sequence of {} tokens is longer than the {} positions of the model (model.max-positions)", tokens, max_positions());
  };
  for (const Tree& tree : trees) {
    check(tree.prompt.size());
    for (const infer::Tokens& ending : tree.endings) check(tree.prompt.size() + ending.size());
  }
  std::vector<float> states;
  for (const std::vector<Tree>& part : parts_of(trees, batch_tokens_)) {
    const std::vector<float> more = states_of(part, pooling);
    states.insert(states.end(), more.begin(), more.end());
  }
  return states;
}

std::vector<float> TorchLm::states_of(const std::vector<Tree>& trees, infer::Pooling pooling) const {
  at::NoGradGuard no_grad;
  const at::Device device = model_.output_layer().weight.device();
  std::vector<data::PromptTree> with_endings;
  std::vector<data::Tokens> alone;
  std::vector<int64_t> lengths;
  for (const Tree& tree : trees) {
    if (!tree.endings.empty()) {
      with_endings.push_back({tree.prompt, tree.endings});
      continue;
    }
    alone.push_back(tree.prompt);
    lengths.push_back(static_cast<int64_t>(tree.prompt.size()));
  }
  std::vector<float> states_with, states_alone;
  if (!with_endings.empty()) {
    std::vector<const data::PromptTree*> pointers;
    for (const data::PromptTree& tree : with_endings) pointers.push_back(&tree);
    data::TreeBatch batch = data::make_tree_batch(pointers, data::LastTokens::kRead, model_.sees_all() ? data::Prompts::kApart : data::Prompts::kShared);
    batch.to(device);
    states_with = numbers_of(pooled(model_.features(batch.input, nullptr), batch, pooling));
  }
  if (!alone.empty()) {
    data::PackedTokens packed = data::pack(alone, -1, -1);
    packed.to(device);
    states_alone = numbers_of(pooled(model_.features(packed, nullptr), lengths, pooling));
  }
  std::vector<float> states;
  auto next_with = states_with.begin(), next_alone = states_alone.begin();
  for (const Tree& tree : trees) {
    auto& next = tree.endings.empty() ? next_alone : next_with;
    const auto end = next + std::max<int64_t>(1, static_cast<int64_t>(tree.endings.size())) * dim();
    states.insert(states.end(), next, end);
    next = end;
  }
  return states;
}

std::vector<float> TorchLm::output_row(int32_t token) const {
  if (token < 0 || token >= vocabulary_size()) fail("token {} is outside the vocabulary of {}", token, vocabulary_size());
  return numbers_of(model_.output_layer().weight.detach()[token]);
}

infer::LoadedLanguageModel load_torch_lm(const std::string& path, int64_t average, const std::string& device) {
  const at::Device place = tensor::parse_device(device);
  refuse_integers(io::find_model(path).weights, "LibTorch does not decode; use --backend engine");
  LoadedLm loaded = load_lm(path, average);
  loaded.model->parameters().to(place);
  infer::LoadedLanguageModel result;
  if (loaded.score_head.defined()) result.score_head = numbers_of(loaded.score_head);
  result.pooling = loaded.config.pooling;
  result.estimator = estimator_of(loaded);
  result.model = std::make_unique<OwnedLm>(std::move(loaded.model), loaded.has_output);
  result.tokenizer = std::move(loaded.tokenizer);
  result.chat_template = loaded.config.chat_template;
  return result;
}

}  // namespace seqmill::model
