#include "model/seq2seq.h"

#include "base/error.h"
#include "model/types.h"

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

std::unique_ptr<GraphDecoder> Seq2Seq::start_with_graph(const data::PackedTokens&, const std::vector<int64_t>&) const {
  fail_usage("this type of model does not decode within the graph of a training");
}

std::unique_ptr<Seq2SeqConfig> declare_seq2seq(Options& options, std::string& type) { return declare_type<Seq2SeqType>(options, type); }

std::unique_ptr<Seq2SeqConfig> declare_seq2seq(Options& options, std::string& type, const infer::ModelConfig& defaults) {
  std::unique_ptr<Seq2SeqConfig> theirs;
  defaults.apply([&](Options& own) { theirs = declare_seq2seq(own, type); });
  return declare_type<Seq2SeqType>(options, type, std::move(theirs));
}

std::string list_seq2seq_models() { return list_types<Seq2SeqType>(); }

}  // namespace seqmill::model
