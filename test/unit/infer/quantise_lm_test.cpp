#include <catch2/catch.hpp>

#include "infer/lm_backend.h"
#include "infer/quantise.h"
#include "support/lm_directory.h"

using namespace seqmill;
using namespace seqmill::test;
using infer::Tokens;

namespace {

constexpr int64_t kRows = 300;  // of the embedding: more than the tokeniser has tokens

infer::LlamaOptions small() {
  infer::LlamaOptions o;
  o.dim = 64, o.ffn = 96, o.heads = 4, o.kv_heads = 2, o.layers = 2, o.max_positions = 64, o.vocabulary = kRows;
  return o;
}

TinyLlama put_model(const std::string& directory, const infer::LlamaOptions& options, io::DType dtype = io::DType::kF32) {
  TinyLlama tiny(options, kRows, 1);
  put_lm_directory(directory, tiny, dtype);
  return tiny;
}

/// How far the log-probabilities behind some text are from those of the definition, on average.
double distance(const TinyLlama& tiny, const infer::LanguageModel& model) {
  const Tokens tokens{1, 7, 250, 32, 99, 5, 5, 120, 64, 33};
  const auto expected = tiny.logprobs(tokens);
  const std::vector<double> scores = model.score({tokens}, 1);
  double sum = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) sum += std::abs(scores[i] - expected[i][static_cast<size_t>(tokens[i + 1])]) / static_cast<double>(scores.size());
  return sum;
}

}  // namespace

TEST_CASE("a language model in 8-bit integers is near the one it was made of", "[quantise]") {
  for (const io::DType dtype : {io::DType::kF32, io::DType::kBF16}) {
    for (const bool tie : {false, true}) {
      CAPTURE(tie);
      const TempDir dir;
      infer::LlamaOptions options = small();
      options.tie = tie;
      const TinyLlama tiny = put_model(dir / "float", options, dtype);
      std::map<std::string, int> modules;
      for (const infer::TensorReport& report : infer::quantise_model(dir / "float", dir / "int8", {}, 1)) {
        if (report.quantised) ++modules[report.module];
        CHECK(report.quantised == (report.name.find("norm") == std::string::npos));
        CHECK((report.quantised ? report.error > 0 && report.error < 0.02 : report.error == 0));
        if (report.quantised && dtype == io::DType::kF32) CHECK(report.bytes_after < report.bytes_before / 3);
      }
      std::map<std::string, int> expected{{"attention", 8}, {"embedding", 1}, {"ffn", 6}};
      if (!tie) expected["output"] = 1;
      CHECK(modules == expected);
      const infer::LoadedLanguageModel loaded = infer::load_lm_in_engine(infer::ModelSource(dir / "int8"));
      CHECK((loaded.model->vocabulary_size() == kRows && loaded.tokenizer->size() < kRows && loaded.chat_template == "plain"));
      const infer::LanguageModelSize before = infer::size_language_model(dir / "float"), after = infer::size_language_model(dir / "int8");
      CHECK((after.parameters == before.parameters && after.integers > 0 && after.scales > 0 && before.scales == 0 && after.rows == kRows));
      const double lost = distance(tiny, *loaded.model);
      CHECK(lost > 0);
      CHECK(lost < (tie ? 0.4 : 0.05));  // logits of embeddings are eight times as large

      // Parts of a joined matrix that stay real.
      infer::QuantiseOptions some;
      some.modules = {"attention", "ffn"};
      some.keep = {"model.layers.0.self_attn.k_proj.weight", "model.layers.1.mlp.gate_proj"};
      infer::quantise_model(dir / "float", dir / "some", some, 1);
      const double lost_by_some = distance(tiny, *infer::load_lm_in_engine(infer::ModelSource(dir / "some")).model);
      CHECK(lost_by_some > 0);
      CHECK(lost_by_some < (tie ? 0.4 : 0.05));
    }
  }
}

TEST_CASE("language models that cannot be quantised are refused", "[quantise]") {
  const TempDir dir;
  infer::LlamaOptions options = small();
  options.lora.rank = 2;
  put_model(dir / "adapted", options);
  CHECK(failure_of([&] { infer::quantise_model(dir / "adapted", dir / "out", {}, 1); }).says("holds adapters"));
  options.lora.rank = 0;
  put_model(dir / "float", options);
  infer::QuantiseOptions throughout, wrong;
  throughout.mode = "scale-propagation";
  const Failure refused = failure_of([&] { infer::quantise_model(dir / "float", dir / "out", throughout, 1); });
  CHECK((refused.says("scale-propagation computes no exponentials, roots or sines") && refused.exit_code == 2));
  wrong.modules = {"decoder-self"};
  CHECK(failure_of([&] { infer::quantise_model(dir / "float", dir / "out", wrong, 1); }).exit_code == 2);
  infer::quantise_model(dir / "float", dir / "out", {}, 1);
  CHECK(failure_of([&] { infer::quantise_model(dir / "out", dir / "again", {}, 1); }).says("quantised already"));
  options.vocabulary = 100;
  put_model(dir / "mismatch", options);
  CHECK(failure_of([&] { infer::load_lm_in_engine(infer::ModelSource(dir / "mismatch")); }).says("the embedding 100 rows"));
}
