#include "model/load.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "infer/model_config.h"
#include "io/run_dir.h"
#include "io/safetensors.h"
#include "tensor/average.h"

namespace seqmill::model {

std::unique_ptr<Seq2Seq> build_seq2seq(const std::string& config, const infer::VocabularySizes& sizes) {
  std::string type = "transformer";
  std::unique_ptr<Seq2SeqConfig> model;
  infer::read_model_config(config).apply([&](Options& options) { model = declare_seq2seq(options, type); });
  return model->build(sizes, std::nullopt);
}

void refuse_integers(const std::string& weights, const std::string& what) {
  const io::WeightFiles file(weights);
  const auto is_integer = [](const io::TensorRecord& record) { return record.dtype == io::DType::kI8 || record.dtype == io::DType::kI16; };
  if (std::any_of(file.tensors().begin(), file.tensors().end(), is_integer)) fail("{} holds integers, which {}", weights, what);
}

LoadedSeq2Seq load_seq2seq(const std::string& path, int64_t average) {
  const io::ModelFiles files = io::find_model(path);
  LoadedSeq2Seq loaded;
  loaded.vocabularies = infer::load_vocabularies(files.directory);
  loaded.model = build_seq2seq(files.config, loaded.vocabularies.sizes());
  const std::vector<tensor::NamedTensor> targets = loaded.model->parameters().named();
  tensor::load_into(files.weights, targets);
  if (average > 0) tensor::load_average(path, io::newest_checkpoints(path, average), targets);
  for (const nn::Parameter& parameter : loaded.model->parameters().all()) parameter.value.set_requires_grad(false);
  return loaded;
}

void initialise_from(const std::string& path, Seq2Seq& model, const infer::Vocabularies& vocabularies) {
  const io::ModelFiles files = io::find_model(path);
  refuse_integers(files.weights, "training cannot begin from; give the model that they were made of");
  const infer::Vocabularies theirs = infer::load_vocabularies(files.directory);
  const bool same_source = text::same_pieces(*theirs.source, *vocabularies.source);
  const bool same_target = text::same_pieces(*theirs.target, *vocabularies.target);
  std::vector<tensor::NamedTensor> targets;
  std::vector<std::string> left;
  for (const nn::Parameter& parameter : model.parameters().all()) {
    const bool foreign = (parameter.rows == nn::Rows::kSourcePieces && !same_source) ||
                         (parameter.rows == nn::Rows::kTargetPieces && !same_target);
    if (foreign) {
      left.push_back(parameter.name + ": its rows belong to another vocabulary");
    } else {
      targets.emplace_back(parameter.name, parameter.value.detach());
    }
  }
  const tensor::PartialLoad loaded = tensor::load_matching(files.weights, targets);
  if (loaded.taken.empty()) fail("--init-from {}: no tensor fits this model", path);
  log::info("--init-from {}: {} of {} tensors taken", path, loaded.taken.size(), targets.size() + left.size());
  left.insert(left.end(), loaded.not_taken.begin(), loaded.not_taken.end());
  for (const std::string& name : loaded.taken) log::info("  taken: {}", name);
  for (const std::string& reason : left) log::info("  not taken: {}", reason);
}

}  // namespace seqmill::model
