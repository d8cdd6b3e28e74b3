// The Integer Transformer (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model"): a Transformer whose attention weights are
// polynomials and whose normalisation needs no square root, so that it can be computed in integers. It is trained like any other, in floating point.

#include "model/transformer.h"

namespace seqmill::model {
namespace {

class IntegerTransformerConfig final : public Seq2SeqConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::unique_ptr<Seq2Seq> build(const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed) const override {
    return make_transformer(options_.resolve(vocabulary), vocabulary, seed);
  }

 private:
  infer::IntegerTransformerOptions options_;
};

const Registration<Seq2SeqType> registered{
    "integer-transformer",
    {"Lin et al., 2020, Towards Fully 8-bit Integer Inference for the Transformer Model", [] { return std::make_unique<IntegerTransformerConfig>(); }}};

}  // namespace
}  // namespace seqmill::model
