#include "model/seq2seq.h"

#include <algorithm>

namespace seqmill::model {

loss::TokenLoss Seq2Seq::loss(const data::Batch& batch, double label_smoothing, tensor::DropoutStream* stream) const {
  const OutputLayer output = output_layer();
  return loss::label_smoothed_cross_entropy(features(batch, stream), output.weight, output.bias, batch.target_output,
                                            label_smoothing);
}

at::Tensor Seq2Seq::target_logprobs(const data::Batch& batch) const {
  at::NoGradGuard no_grad;
  const OutputLayer output = output_layer();
  return -loss::token_nll(features(batch, nullptr), output.weight, output.bias, batch.target_output);
}

std::unique_ptr<Seq2SeqConfig> declare_seq2seq(Options& options, std::string& type) {
  options.group("Model");
  const auto& registry = Registry<Seq2SeqType>::instance();
  const std::vector<std::string> known = registry.names();
  options.add("model.type", type, "Architecture; the options below are those of the type chosen").one_of(known);
  // An unknown type is reported when the option is set, which knows file and line.
  const std::string chosen = options.preview("model.type", type);
  auto config = registry.get(std::find(known.begin(), known.end(), chosen) != known.end() ? chosen : type).config();
  config->declare(options);
  return config;
}

std::string list_seq2seq_models() {
  std::string lines;
  const auto& registry = Registry<Seq2SeqType>::instance();
  size_t width = 0;
  for (const std::string& name : registry.names()) width = std::max(width, name.size());
  for (const std::string& name : registry.names()) lines += fmt::format("{:<{}}  {}\n", name, width, registry.get(name).paper);
  return lines;
}

}  // namespace seqmill::model
