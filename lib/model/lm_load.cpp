#include "model/lm_load.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "infer/estimator_head.h"
#include "infer/lm_engine.h"
#include "io/safetensors.h"
#include "model/adapters.h"
#include "model/load.h"
#include "tensor/average.h"
#include "tensor/weights.h"

namespace seqmill::model {
namespace {

using tensor::NamedTensor;

std::unique_ptr<LmConfig> configure(const infer::ModelConfig& config) {
  std::string type = config.type;
  std::unique_ptr<LmConfig> model;
  config.apply([&](Options& options) { model = declare_lm(options, type); });
  return model;
}

}  // namespace

std::unique_ptr<Lm> build_lm(const infer::ModelConfig& config, int64_t tokens) {
  return infer::with_options_of(config.file, [&] { return configure(config)->build(tokens, std::nullopt); });
}

LoadedLm load_lm(const std::string& path, int64_t average) {
  const io::ModelFiles files = io::find_model(path);
  LoadedLm loaded;
  loaded.config = infer::read_model_config(files.config);
  loaded.tokenizer = text::load_tokenizer(files.directory);
  loaded.model = build_lm(loaded.config, loaded.tokenizer->size());
  std::vector<NamedTensor> targets = loaded.model->parameters().named();
  const io::WeightFiles file(files.weights);
  if (const io::TensorRecord* head = file.find(infer::kScoreHead)) {
    loaded.score_head = at::empty({head->shape.empty() ? 1 : head->shape[0], loaded.model->output_layer().weight.size(1)}, at::kFloat);
    targets.emplace_back(infer::kScoreHead, loaded.score_head);
    // Others store reward models without what gives probabilities.
    const auto output = std::find_if(targets.begin(), targets.end(), [](const NamedTensor& target) { return target.first == "lm_head.weight"; });
    if (output != targets.end() && !file.find(output->first)) {
      at::NoGradGuard no_grad;
      output->second.zero_();
      targets.erase(output);
      loaded.has_output = false;
    }
  }
  for (const io::TensorRecord& record : file.tensors()) {
    if (starts_with(record.name, infer::kEstimator)) loaded.estimator.emplace_back(record.name, at::empty(record.shape, at::kFloat));
  }
  targets.insert(targets.end(), loaded.estimator.begin(), loaded.estimator.end());
  tensor::load_into(files.weights, targets, loaded.model->parameters().copies());
  if (average > 0) tensor::load_average(path, io::newest_checkpoints(path, average), targets);
  for (const nn::Parameter& parameter : loaded.model->parameters().all()) parameter.value.set_requires_grad(false);
  return loaded;
}

namespace {

/// What of a file becomes the beginning of a model.
struct Beginning {
  std::vector<NamedTensor> taken;     ///< tensors of the model that the file has
  std::vector<NamedTensor> adapters;  ///< of the file, to be merged into those
  std::vector<NamedTensor> left;      ///< of the file, of no use to the model: what scores
};

/// Throws Error that names what does not fit. `source`: the file, for messages; `same`: both have one tokeniser.
Beginning choose(const std::string& source, const io::WeightFiles& file, Lm& model, bool same) {
  std::map<std::string, const nn::Parameter*> by_name;
  const std::vector<nn::Parameter> parameters = model.parameters().all();
  for (const nn::Parameter& parameter : parameters) by_name[parameter.name] = &parameter;
  const std::vector<NamedTensor> wanted = model.parameters().named();
  const auto wants = [&](const std::string& name) { return std::any_of(wanted.begin(), wanted.end(), [&](const NamedTensor& target) { return target.first == name; }); };
  Beginning beginning;
  for (const io::TensorRecord& record : file.tensors()) {
    if (infer::is_score_head(record.name) && !wants(record.name)) beginning.left.emplace_back(record.name, at::empty(record.shape, at::kFloat));
    if (is_adapter(record.name) && !wants(record.name)) beginning.adapters.emplace_back(record.name, at::empty(record.shape, at::kFloat));
  }
  for (const NamedTensor& target : wanted) {
    const auto parameter = by_name.find(target.first);
    const bool of_tokens = parameter != by_name.end() && parameter->second->rows != nn::Rows::kOther;
    if (of_tokens && !same) {
      if (!parameter->second->value.requires_grad()) fail("{}: its tokeniser is another one, and with adapters alone {} would never learn", source, target.first);
      log::warn("{}: {} is left, its rows belong to another tokeniser", source, target.first);
    } else if (target.first == "lm_head.weight" && !file.find(target.first) && file.find(infer::kScoreHead)) {
      log::warn("{}: a reward model without {}, which is left as it was drawn", source, target.first);
    } else if (!is_adapter(target.first) || (beginning.adapters.empty() && file.find(target.first))) {
      beginning.taken.push_back(target);
    }
  }
  return beginning;
}

}  // namespace

void initialise_lm_from(const std::string& path, Lm& model, const text::Tokenizer& tokenizer, const std::string& option) {
  const std::string source = option + " " + path;
  const io::ModelFiles files = io::find_model(path);
  refuse_integers(files.weights, "training cannot begin from; give the model that they were made of");
  const bool same = text::same_pieces(*text::load_tokenizer(files.directory), tokenizer);
  Beginning beginning = choose(source, io::WeightFiles(files.weights), model, same);
  std::vector<NamedTensor> all = beginning.taken;
  all.insert(all.end(), beginning.adapters.begin(), beginning.adapters.end());
  all.insert(all.end(), beginning.left.begin(), beginning.left.end());
  std::vector<std::string> left;
  for (const std::string& reason : tensor::load_matching(files.weights, all, model.parameters().copies()).not_taken) {
    const auto is_left_out = [&](const nn::Parameter& parameter) { return !same && parameter.rows != nn::Rows::kOther && starts_with(reason, parameter.name + ":"); };
    const std::vector<nn::Parameter>& parameters = model.parameters().all();
    if (std::none_of(parameters.begin(), parameters.end(), is_left_out)) left.push_back(reason);
  }
  if (!left.empty()) fail("{} does not fit this model: {}", source, join(left, "; "));
  if (!beginning.adapters.empty()) {
    at::NoGradGuard no_grad;
    const std::vector<NamedTensor> merged = merge_adapters(all, adapter_scale(infer::read_model_config(files.config)));
    for (size_t i = 0; i < beginning.taken.size(); ++i) beginning.taken[i].second.copy_(merged[i].second);
  }
  log::info("{}: {} tensors taken{}", source, beginning.taken.size(),
            beginning.adapters.empty() ? "" : fmt::format(", {} adapters merged", beginning.adapters.size() / 2));
}

}  // namespace seqmill::model
