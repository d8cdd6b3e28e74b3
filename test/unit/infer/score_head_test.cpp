// Language models that are reward models, as their files have them.

#include <catch2/catch.hpp>

#include "infer/lm_engine.h"
#include "infer/model_config.h"
#include "infer/quantise.h"
#include "support/lm_directory.h"

using namespace seqmill;
using namespace seqmill::test;

namespace {

constexpr int64_t kRows = 300;

infer::LlamaOptions small() {
  infer::LlamaOptions o;
  o.dim = 32, o.ffn = 48, o.heads = 4, o.layers = 1, o.max_positions = 64, o.vocabulary = kRows;
  return o;
}

std::vector<float> put_reward_model(const std::string& directory, const infer::LlamaOptions& options, const std::vector<int64_t>& shape) {
  TinyLlama tiny(options, kRows, 1);
  tiny.add(infer::kScoreHead, shape, 1);
  put_lm_directory(directory, tiny);
  return tiny.tensors.at(infer::kScoreHead).numbers;
}

infer::LoadedLanguageModel load(const std::string& directory) { return infer::load_lm_in_engine(infer::ModelSource(directory)); }

}  // namespace

TEST_CASE("the head of a reward model is read beside it, and stays when the model becomes integers", "[score-head]") {
  const TempDir dir;
  const std::vector<float> head = put_reward_model(dir / "float", small(), {2, 32});
  CHECK((load(dir / "float").score_head == head));
  for (const infer::TensorReport& report : infer::quantise_model(dir / "float", dir / "int8", {}, 1)) {
    if (report.name == infer::kScoreHead) CHECK((!report.quantised && report.bytes_after == report.bytes_before));
  }
  CHECK((load(dir / "int8").score_head == head));
  put_lm_directory(dir / "plain", TinyLlama(small(), kRows, 1));
  CHECK(load(dir / "plain").score_head.empty());
}

TEST_CASE("a head that does not fit is refused", "[score-head]") {
  const TempDir dir;
  put_reward_model(dir / "wide", small(), {1, 33});
  CHECK(failure_of([&] { load(dir / "wide"); }).says("score.weight: shape [1, 33] where [1, 32] is needed"));
  put_reward_model(dir / "flat", small(), {32});
  CHECK(failure_of([&] { load(dir / "flat"); }).says("score.weight: shape [32]"));
  infer::LlamaOptions integers = small();
  integers.norm = "l1", integers.activation = "relu", integers.positions = "learned", integers.attention = "polynomial";
  put_reward_model(dir / "integers", integers, {1, 32});
  infer::QuantiseOptions throughout;
  throughout.mode = "scale-propagation";
  const Failure refused = failure_of([&] { infer::quantise_model(dir / "integers", dir / "out", throughout, 1); });
  CHECK((refused.exit_code == kExitUsage && refused.says("is a reward model")));
}

TEST_CASE("labels of a classifier are names of its scores", "[score-head]") {
  const TempDir dir;
  const auto aspects = [&](const std::string& more) {
    put(dir / "config.json",
        R"({"model_type":"llama","vocab_size":300,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":1,"num_attention_heads":4,"max_position_embeddings":64,)" + more + "}");
    return infer::read_model_config(dir / "config.json").aspects;
  };
  const std::string classifier = R"("architectures":["LlamaForSequenceClassification"],)";
  CHECK(aspects(classifier + R"("id2label":{"0":"helpful","1":"short"})") == std::vector<std::string>{"helpful", "short"});
  CHECK(aspects(classifier + R"("id2label":{"0":"LABEL_0"})").empty());
  CHECK(aspects(R"("architectures":["LlamaForCausalLM"],"id2label":{"0":"helpful"})").empty());
  CHECK(failure_of([&] { aspects(classifier + R"("id2label":{"1":"short"})"); }).says("id2label has no name for 0"));
  put(dir / "config.yaml", "model:\n  type: llama\naspects:\n  - one\n  - two\n");
  CHECK(infer::read_model_config(dir / "config.yaml").aspects == std::vector<std::string>{"one", "two"});
}

TEST_CASE("a run tells the window of its training", "[score-head]") {
  const TempDir dir;
  const auto window = [&](const std::string& line) { return infer::read_model_config(put(dir / "config.yaml", "model:\n  type: llama\n" + line)).window; };
  CHECK(window("window: 300\n") == 300);
  CHECK(window("window: 0\n") == 0);
  CHECK_FALSE(window(""));
  CHECK(failure_of([&] { window("window: wide\n"); }).says("config.yaml:3: window: found 'wide', expected a number of tokens"));
}
