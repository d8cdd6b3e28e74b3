#include <set>

#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

const VocabularySizes kShared{20, 20, true}, kSeparate{20, 30, false};

Failure build_failure(const Settings& more, const VocabularySizes& sizes = kShared) {
  return failure_of([&] { build(small(more), sizes); });
}

std::set<std::string> names_of(Seq2Seq& model) {
  std::set<std::string> names;
  for (const nn::Parameter& parameter : model.parameters().all()) names.insert(parameter.name);
  return names;
}

}  // namespace

TEST_CASE("options that do not go together are usage errors", "[transformer][options]") {
  const Failure heads = build_failure({{"heads", "3"}});
  CHECK(heads.exit_code == kExitUsage);
  CHECK(heads.says("model.dim 16 is not divisible by model.heads 3"));
  const Failure odd = build_failure({{"dim", "15"}, {"heads", "3"}});
  CHECK(odd.exit_code == kExitUsage);
  CHECK(odd.says("model.dim 15 is odd"));
  const Failure rotary = build_failure({{"dim", "18"}, {"heads", "6"}, {"positions", "rotary"}});
  CHECK(rotary.exit_code == kExitUsage);
  CHECK(rotary.says("even head width"));
  CHECK(build_failure({{"dim", "18"}, {"heads", "6"}}).exit_code == kExitDone);
  const Failure tie = build_failure({{"tie", "all"}}, kSeparate);
  CHECK(tie.exit_code == kExitUsage);
  CHECK(tie.says("model.tie all needs one vocabulary"));
  CHECK(build_failure({{"tie", "all"}}).exit_code == kExitDone);
  CHECK(build_failure({{"tie", "decoder"}}, kSeparate).exit_code == kExitDone);
}

TEST_CASE("values out of range are refused when they are set", "[transformer][options]") {
  for (const auto& [key, value] : Settings{{"dim", "0"}, {"heads", "0"}, {"ffn", "0"}, {"encoder-layers", "0"},
                                           {"decoder-layers", "0"}, {"max-positions", "0"}, {"dropout", "1"},
                                           {"attention-dropout", "-0.1"}, {"activation-dropout", "1"},
                                           {"norm", "both"}, {"positions", "fixed"}, {"tie", "yes"},
                                           {"activation", "tanh"}}) {
    CAPTURE(key, value);
    CHECK(build_failure({{key, value}}).says("model." + key + ": "));
  }
}

TEST_CASE("the options decide which tensors exist", "[transformer][options]") {
  const auto none = names_of(*build(small({{"tie", "none"}}), kSeparate));
  const auto decoder = names_of(*build(small({{"tie", "decoder"}}), kSeparate));
  const auto all = names_of(*build(small({{"tie", "all"}}), kShared));
  CHECK((none.count("encoder.embedding.weight") && none.count("output.weight") && none.count("decoder.embedding.weight")));
  CHECK((decoder.count("encoder.embedding.weight") && !decoder.count("output.weight")));
  CHECK((!all.count("encoder.embedding.weight") && !all.count("output.weight") && all.count("decoder.embedding.weight")));
  CHECK((all.count("output.bias") && all.count("encoder.1.attention.qkv.weight") && all.count("decoder.1.cross.kv.bias")));
  const auto post = names_of(*build(small({{"norm", "post"}, {"positions", "learned"}}), kShared));
  CHECK((all.count("encoder.norm.weight") && !post.count("encoder.norm.weight")));
  CHECK((!all.count("decoder.positions.weight") && post.count("decoder.positions.weight")));
  CHECK_FALSE(names_of(*build(small({{"decoder-layers", "1"}}), kShared)).count("decoder.1.self.qkv.weight"));
}

TEST_CASE("sizes follow the vocabularies, weight decay follows the kind of tensor", "[transformer][options]") {
  const auto model = build(small({{"tie", "none"}}), kSeparate);
  for (const nn::Parameter& parameter : model->parameters().all()) {
    CAPTURE(parameter.name);
    if (parameter.name == "encoder.embedding.weight") CHECK(parameter.value.sizes().vec() == std::vector<int64_t>{20, 16});
    if (parameter.name == "decoder.embedding.weight") CHECK(parameter.value.sizes().vec() == std::vector<int64_t>{30, 16});
    if (parameter.name == "output.weight") CHECK(parameter.value.sizes().vec() == std::vector<int64_t>{30, 16});
    const bool is_embedding = parameter.name.find("embedding") != std::string::npos;
    CHECK(parameter.decays == (parameter.value.dim() == 2 && !is_embedding));
    CHECK(parameter.value.requires_grad());
  }
}

TEST_CASE("the seed decides the start", "[transformer][options]") {
  const auto values = [](uint64_t seed) {
    const auto model = build(small(), kShared, seed);
    model->parameters().flatten();
    return model->parameters().flat_values();
  };
  CHECK(same_bits(values(1), values(1)));
  CHECK_FALSE(same_bits(values(1), values(2)));
}

TEST_CASE("sequences beyond the learned positions are errors on either side", "[transformer][options]") {
  const auto model = random_model(small({{"positions", "learned"}, {"max-positions", "5"}}), kShared);
  const auto pass = [&](int64_t source, int64_t target) {
    const auto sources = random_sequences({2, source}, 20, 1), targets = random_sequences({1, target}, 20, 2);
    return failure_of([&] { model->target_logprobs(batch_of(sources, targets)); });
  };
  CHECK(pass(4, 4).exit_code == kExitDone);  // with the end or begin symbol these are five
  const Failure source = pass(5, 4);
  CHECK(source.exit_code == kExitFailure);
  CHECK(source.says("longer than the 5 learned positions"));
  CHECK(source.says("model.max-positions"));
  CHECK(pass(4, 5).exit_code == kExitFailure);
  const auto decoder = model->start(packed(random_sequences({4}, 20, 3)));
  for (int step = 0; step < 5; ++step) decoder->advance({0}, {kBos});
  CHECK(failure_of([&] { decoder->advance({0}, {kBos}); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { model->start(packed(random_sequences({5}, 20, 3))); }).exit_code == kExitFailure);
}

TEST_CASE("an integer transformer says what it cannot compute in integers", "[transformer-options]") {
  const VocabularySizes sizes{23, 23, true};
  const auto failure = [&](const Settings& settings) {
    Settings all = small(settings);
    all["type"] = "integer-transformer";
    return failure_of([&] { build(all, sizes); });
  };
  CHECK(failure({{"positions", "rotary"}}).says("--model.positions is sinusoidal or learned"));
  CHECK(failure({{"activation", "gelu"}}).says("--model.activation relu"));
  CHECK(failure({{"heads", "3"}}).says("not divisible"));
  CHECK(failure({{"poly-degree", "5"}}).says("model.poly-degree"));
  const auto names = [&](const Settings& settings) {
    std::vector<std::string> all;
    const auto model = build(small(settings), sizes);
    for (const nn::Parameter& parameter : model->parameters().all()) {
      if (parameter.name.find("polynomial") != std::string::npos) all.push_back(parameter.name);
    }
    return all;
  };
  CHECK(names({}).empty());
  CHECK(names({{"type", "integer-transformer"}, {"attention", "softmax"}}).empty());
  CHECK(names({{"type", "integer-transformer"}}).size() == 12);  // two of each attention
  const auto model = build(small({{"type", "integer-transformer"}, {"poly-bias", "0.5"}, {"poly-delta", "0.25"}}), sizes);
  for (const nn::Parameter& parameter : model->parameters().all()) {
    if (parameter.name == "decoder.1.cross.polynomial.bias") CHECK(parameter.value.eq(0.5).all().item<bool>());
    if (parameter.name == "decoder.1.cross.polynomial.delta") CHECK(parameter.value.eq(0.25).all().item<bool>());
  }
}
