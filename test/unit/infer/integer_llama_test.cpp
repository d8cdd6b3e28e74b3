// Language models of mode scale-propagation against their definition in real numbers.
#include <catch2/catch.hpp>

#include "infer/quantise.h"
#include "kernel/scale.h"
#include "support/lm_directory.h"
#include "support/lm_steps.h"

using namespace seqmill;
using namespace seqmill::test;
using infer::LanguageModel;
using infer::LlamaOptions;
using infer::SequenceDecoder;
using infer::Tokens;

namespace {

constexpr int64_t kVocabulary = 300;

/// Of what integers can compute.
LlamaOptions small() {
  LlamaOptions o;
  o.dim = 32, o.ffn = 48, o.heads = 4, o.kv_heads = 2, o.layers = 2, o.max_positions = 60, o.vocabulary = kVocabulary;
  o.norm = "l1", o.activation = "relu", o.positions = "learned", o.attention = "polynomial", o.polynomial.degree = 3;
  return o;
}

template <typename Change>
LlamaOptions variant(Change change) {
  LlamaOptions o = small();
  change(o);
  return o;
}

std::vector<std::pair<const char*, LlamaOptions>> variants() {
  return {{"two key heads", small()},
          {"one key head", variant([](LlamaOptions& o) { o.kv_heads = 1, o.qkv_bias = true; })},
          {"as many key heads", variant([](LlamaOptions& o) { o.kv_heads = 0, o.polynomial.degree = 2; })},
          {"tied", variant([](LlamaOptions& o) { o.tie = true, o.polynomial.degree = 1; })},
          {"wide heads, odd sizes", variant([](LlamaOptions& o) { o.dim = 27, o.heads = 3, o.kv_heads = 1, o.head_dim = 10, o.ffn = 21, o.polynomial.degree = 4; })}};
}

Tokens random_tokens(int64_t count, uint64_t seed) { return test::random_tokens(kVocabulary, count, seed); }

infer::QuantiseOptions propagation(int64_t bits = 8, const std::string& granularity = "row") {
  infer::QuantiseOptions options;
  options.mode = "scale-propagation";
  options.bits = bits;
  options.granularity = granularity;
  return options;
}

/// A model in real numbers and what is made of it.
struct Made {
  explicit Made(const LlamaOptions& options, uint64_t seed = 1) : tiny(options, kVocabulary, seed) {
    for (auto& [name, tensor] : tiny.tensors) {
      // Steps that are not much larger than those of trained models.
      const bool calm = name.find("_proj") != std::string::npos || name == "lm_head.weight" || (options.tie && name.find("embed_tokens") != std::string::npos);
      for (float& number : tensor.numbers) number *= calm ? 0.5F : 1.0F;
    }
    put_lm_directory(dir / "float", tiny);
  }

  std::unique_ptr<LanguageModel> quantised(const infer::QuantiseOptions& options) {
    std::filesystem::remove_all(dir / "integers");
    reports = infer::quantise_model(dir / "float", dir / "integers", options, 1);
    return infer::load_lm_in_engine(infer::ModelSource(dir / "integers")).model;
  }

  /// How far the log-probabilities behind the tokens of some text are from those of the definition: the furthest.
  double furthest(const infer::QuantiseOptions& options) {
    const Tokens tokens = random_tokens(40, 2);
    const auto expected = tiny.logprobs(tokens);
    const std::vector<LogprobRow> found = by_steps(*quantised(options), tokens);
    double furthest = 0;
    for (size_t i = 0; i < tokens.size(); ++i) furthest = std::max(furthest, worst(found[i], expected[i]));
    return furthest;
  }

  /// Of scored texts.
  double perplexity(const LanguageModel& model) const {
    double sum = 0, count = 0;
    for (const double logprob : model.score({random_tokens(40, 2), random_tokens(30, 3), random_tokens(50, 4)}, 1)) sum -= logprob, ++count;
    return std::exp(sum / count);
  }

  /// The file that was made, changed.
  template <typename Change>
  Failure broken(Change change) {
    quantised(propagation());
    const io::SafetensorsFile file(dir / "integers/model.safetensors");
    std::vector<io::TensorRecord> tensors = file.tensors();
    auto metadata = file.metadata();
    std::vector<std::vector<char>> bytes;
    bytes.reserve(tensors.size());
    for (io::TensorRecord& tensor : tensors) {
      const auto* data = static_cast<const char*>(tensor.data);
      bytes.emplace_back(data, data + tensor.bytes());
      tensor.data = bytes.back().data();
    }
    change(tensors, metadata);
    io::write_safetensors(dir / "broken.safetensors", tensors, metadata);
    std::filesystem::rename(dir / "broken.safetensors", dir / "integers/model.safetensors");
    return failure_of([&] { infer::load_lm_in_engine(infer::ModelSource(dir / "integers")); });
  }

  TempDir dir;
  TinyLlama tiny;
  std::vector<infer::TensorReport> reports;
};

io::TensorRecord& find(std::vector<io::TensorRecord>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const io::TensorRecord& tensor) { return tensor.name == name; });
  REQUIRE(found != tensors.end());
  return *found;
}

template <typename Number>
void put_number(io::TensorRecord& tensor, Number number) {
  std::memcpy(const_cast<void*>(tensor.data), &number, sizeof number);
}

}  // namespace

TEST_CASE("language models of 16 bits compute as real numbers do, and fewer bits lose more", "[scale-propagation][llama]") {
  for (const auto& [name, options] : variants()) {
    CAPTURE(name);
    Made made(options);
    for (const char* granularity : {"row", "head"}) {
      CAPTURE(granularity);
      CHECK(made.furthest(propagation(16, granularity)) < 2e-3);
    }
    std::vector<double> furthest;
    for (const int64_t bits : {8, 6, 4}) furthest.push_back(made.furthest(propagation(bits)));
    CHECK(furthest[0] < 0.5);
    CHECK(furthest[0] > 5e-3);
    CHECK(furthest[1] > furthest[0]);
    CHECK(furthest[2] > furthest[1]);

    const double real = made.perplexity(*infer::load_lm_in_engine(infer::ModelSource(made.dir / "float")).model);
    CHECK(made.perplexity(*made.quantised(propagation(16))) == Approx(real).epsilon(1e-3));
    CHECK(made.perplexity(*made.quantised(propagation())) == Approx(real).epsilon(0.03));
  }
}

TEST_CASE("integers of a sequence depend neither on other sequences nor on threads", "[scale-propagation][llama]") {
  for (const int64_t bits : {8, 16}) {
    for (const char* granularity : {"row", "head"}) {
      CAPTURE(bits, granularity);
      Made made(variant([](LlamaOptions& o) { o.dim = 64, o.ffn = 300, o.heads = 8, o.max_positions = 720; }));
      check_independence(*made.quantised(propagation(bits, granularity)));
    }
  }
}

TEST_CASE("integers of a prompt are those of its tokens step by step, in branches too", "[scale-propagation][llama]") {
  for (const auto& [name, options] : variants()) {
    for (const char* granularity : {"row", "head"}) {
      CAPTURE(name, granularity);
      Made made(options);
      const auto model = made.quantised(propagation(8, granularity));
      const Tokens tokens = random_tokens(60, 5);
      const std::vector<LogprobRow> steps = by_steps(*model, tokens);
      for (const int64_t length : {1, 2, 15, 16, 17, 49, 60}) {
        CAPTURE(length);
        const Tokens prompt(tokens.begin(), tokens.begin() + length);
        const auto decoder = model->start(1);
        SequenceDecoder::Handle first = -1;
        CHECK((begin(*decoder, kVocabulary, prompt, first) == steps[static_cast<size_t>(length - 1)]));
        if (length == 60) continue;
        const SequenceDecoder::Handle second = decoder->branch(first);
        Tokens other = prompt;
        other.push_back(7);
        const std::vector<LogprobRow> rows = advance(*decoder, kVocabulary, {second, first}, {7, tokens[prompt.size()]});
        CHECK((rows[0] == by_steps(*model, other).back()));
        CHECK((rows[1] == steps[prompt.size()]));
        decoder->end(first);
        if (length == 49) continue;
        other.push_back(9);
        CHECK((advance(*decoder, kVocabulary, {second}, {9})[0] == by_steps(*model, other).back()));
      }
      const std::vector<double> scores = model->score({tokens}, 1);
      REQUIRE(scores.size() == 59);
      for (size_t i = 0; i < scores.size(); ++i) CHECK(scores[i] == Approx(static_cast<double>(steps[i][static_cast<size_t>(tokens[i + 1])])).margin(1e-5));
    }
  }
}

TEST_CASE("integers of prompts that take several turns are those of their tokens one by one", "[scale-propagation][llama]") {
  Made made(variant([](LlamaOptions& o) { o.layers = 1, o.dim = 16, o.max_positions = 1200; }));
  const auto model = made.quantised(propagation());
  const Tokens tokens = random_tokens(1100, 6);
  const std::vector<LogprobRow> steps = by_steps(*model, tokens);
  const auto decoder = model->start(1);
  SequenceDecoder::Handle handle = -1;
  CHECK((begin(*decoder, kVocabulary, tokens, handle) == steps.back()));
  const std::vector<double> scores = model->score({tokens}, 1);
  for (size_t i = 0; i < scores.size(); ++i) REQUIRE(scores[i] == Approx(static_cast<double>(steps[i][static_cast<size_t>(tokens[i + 1])])).margin(1e-5));
}

TEST_CASE("language models of 8 bits are the same whether 8 or 16 hold them", "[scale-propagation][llama]") {
  for (const auto& [name, options] : variants()) {
    CAPTURE(name);
    Made made(options);
    const Tokens tokens = random_tokens(40, 7);
    const std::vector<LogprobRow> narrow = by_steps(*made.quantised(propagation(8, "head")), tokens);
    // The same file, which says that a sub-layer has 16 bits that the model has not.
    const io::SafetensorsFile file(made.dir / "integers/model.safetensors");
    auto metadata = file.metadata();
    metadata["wide"] = "model.layers.77";
    io::write_safetensors(made.dir / "wide.safetensors", file.tensors(), metadata);
    std::filesystem::rename(made.dir / "wide.safetensors", made.dir / "integers/model.safetensors");
    const std::vector<LogprobRow> wide = by_steps(*infer::load_lm_in_engine(infer::ModelSource(made.dir / "integers")).model, tokens);
    for (size_t i = 0; i < tokens.size(); ++i) CHECK(worst(narrow[i], wide[i]) < 1e-4);
  }
}

TEST_CASE("what is kept of a language model is computed in 16 bits, and loses nothing", "[scale-propagation][llama]") {
  Made made(small());
  const double all = made.furthest(propagation(5));
  const auto wide = [&] {
    return std::count_if(made.reports.begin(), made.reports.end(), [](const infer::TensorReport& report) {
      return report.quantised && report.bytes_after > report.bytes_before * 2 / 5 && report.name.find("bias") == std::string::npos;
    });
  };
  CHECK(wide() == 0);
  infer::QuantiseOptions options = propagation(5);
  const std::vector<std::string> modules{"embedding", "output", "attention", "ffn"};
  for (const std::string& module : modules) {
    CAPTURE(module);
    options.modules = {module};
    const double one = made.furthest(options);
    CHECK(one > 2e-3);
    CHECK(one < all * 1.5);
    CHECK(wide() > 4);
    for (const infer::TensorReport& report : made.reports) CHECK(std::find(modules.begin(), modules.end(), report.module) != modules.end());
  }
  options.modules = modules;
  CHECK(made.furthest(options) == all);
  CHECK(infer::Weights({made.dir / "integers/model.safetensors"}).metadata("wide").empty());
  options = propagation(5);
  options.keep = {"model", "lm_head"};
  CHECK(made.furthest(options) < 2e-3);
  const Tokens tokens = random_tokens(40, 2);
  const std::vector<LogprobRow> narrow = by_steps(*made.quantised(propagation(5)), tokens);
  for (const char* kept : {"last-residual", "last-norm", "model.layers.1", "model.layers.1.mlp", "model.layers.0.self_attn", "model.embed_tokens", "model.norm"}) {
    CAPTURE(kept);
    options.keep = {kept};
    CHECK(made.furthest(options) < all * 1.5);
    CHECK((by_steps(*made.quantised(options), tokens) != narrow));
  }
  CHECK(infer::Weights({made.dir / "integers/model.safetensors"}).metadata("wide") == "model.norm");
  options.keep = {"last-norm"};
  made.quantised(options);
  CHECK(infer::Weights({made.dir / "integers/model.safetensors"}).metadata("wide") == "model.norm");
}

TEST_CASE("every way of re-scaling and rounding a language model stays near the real numbers", "[scale-propagation][llama]") {
  Made made(small());
  for (const char* rescale : {"max", "pow2", "always"}) {
    for (const char* rounding : {"nearest", "trunc", "stochastic"}) {
      for (const char* weight_scale : {"channel", "tensor"}) {
        CAPTURE(rescale, rounding, weight_scale);
        infer::QuantiseOptions options = propagation();
        options.rescale = rescale, options.rounding = rounding, options.weight_scale = weight_scale;
        CHECK(made.furthest(options) < 1.5);
        options.bits = 16;
        CHECK(made.furthest(options) < 0.02);
      }
    }
  }
}

TEST_CASE("of a language model, too, only scales are real numbers between embeddings and logits", "[scale-propagation][llama]") {
  const auto operations = [](int64_t dim, int64_t ffn, int64_t layers) {
    Made made(variant([&](LlamaOptions& o) { o.dim = dim, o.ffn = ffn, o.layers = layers; }));
    const auto model = made.quantised(propagation());
    kernel::count_scale_operations(true);
    const auto decoder = model->start(1);
    std::vector<float> row(kVocabulary);
    const SequenceDecoder::Handle handle = decoder->begin({5, 6, 7, 1, 9}, row.data());
    decoder->advance({handle, decoder->branch(handle)}, {5, 6});
    const int64_t count = kernel::scale_operations();
    kernel::count_scale_operations(false);
    return count;
  };
  // Eight times the width. What is equal or fits already needs no arithmetic: a few more or less.
  const int64_t few = operations(16, 8, 2), many = operations(128, 200, 2);
  CHECK(few > 300);
  CHECK(std::abs(many - few) < few / 10);
  CHECK(operations(16, 8, 3) > few * 12 / 10);
}

TEST_CASE("language models that integers cannot compute are refused before anything is written", "[scale-propagation][llama]") {
  const auto failure = [](const LlamaOptions& options, const infer::QuantiseOptions& quantise) {
    Made made(options);
    const Failure failure = failure_of([&] { made.quantised(quantise); });
    CHECK_FALSE(std::filesystem::exists(made.dir / "integers"));
    return failure;
  };
  const auto refused = [&](auto change, const std::string& needed) {
    const Failure found = failure(variant(change), propagation());
    CAPTURE(needed);
    CHECK(found.exit_code == 2);
    CHECK(found.says("trained with " + needed + "; --mode dynamic takes others"));
  };
  refused([](LlamaOptions& o) { o.positions = "rotary"; }, "model.positions learned (this model has rotary)");
  refused([](LlamaOptions& o) { o.attention = "softmax"; }, "model.attention polynomial (this model has softmax)");
  refused([](LlamaOptions& o) { o.norm = "rms"; }, "model.norm l1 (this model has rms)");
  refused([](LlamaOptions& o) { o.activation = "gelu"; }, "model.activation relu (this model has gelu)");
  refused([](LlamaOptions& o) { o.window = 7; }, "model.window 0 (this model has 7)");
  refused([](LlamaOptions& o) { o.norm = "layer", o.activation = "swiglu"; }, "model.norm l1 (this model has layer), model.activation relu (this model has swiglu)");
  const Failure adapters = failure(variant([](LlamaOptions& o) { o.lora.rank = 2; }), propagation());
  CHECK((adapters.says("holds adapters") && adapters.says("merge them") && adapters.exit_code == 1));
  const Failure sentence = failure(small(), propagation(8, "sentence"));
  CHECK((sentence.says("--granularity sentence") && sentence.exit_code == 2));
  CHECK(failure(small(), propagation(12)).says("--bits 12: 4 to 8, or 16"));
  infer::QuantiseOptions options = propagation();
  for (const char* unknown : {"model.layers.9", "model.layers.0.mlp.up_proj", "decoder.0.ffn", "model.embed_positions"}) {
    options.keep = {unknown};
    CHECK(failure(small(), options).says(fmt::format("--keep-fp {}: the model has no sub-layer of that name or beginning, such as model.layers.0.mlp", unknown)));
  }
  options.keep = {"lm_head"};
  CHECK(failure(variant([](LlamaOptions& o) { o.tie = true; }), options).says("has no sub-layer"));
  options = propagation();
  options.modules = {"decoder-self"};
  CHECK(failure(small(), options).says("--int8-modules decoder-self: this model has no such module"));
  CHECK(failure(variant([](LlamaOptions& o) { o.dim = 4104, o.ffn = 4, o.layers = 1; }), propagation()).says("rows of 4104 integers are too long"));
}

TEST_CASE("broken integers of a language model are named", "[scale-propagation][llama]") {
  Made made(small());
  using Tensors = std::vector<io::TensorRecord>;
  using Metadata = std::map<std::string, std::string>;
  const auto at = [](const std::string& name, auto number) {
    return [name, number](Tensors& tensors, Metadata&) { put_number(find(tensors, name), number); };
  };
  const auto without = [](const std::string& name) {
    return [name](Tensors& tensors, Metadata&) { tensors.erase(tensors.begin() + (&find(tensors, name) - tensors.data())); };
  };
  const auto said = [](const std::string& key, const std::string& value) { return [key, value](Tensors&, Metadata& metadata) { metadata[key] = value; }; };
  CHECK(made.broken([](Tensors&, Metadata&) {}).message.empty());
  CHECK(made.broken(without("model.layers.1.self_attn.k_proj.weight.scale")).says("missing: model.layers.1.self_attn.k_proj.weight.scale"));
  CHECK(made.broken(without("model.embed_positions.weight.scale")).says("missing: model.embed_positions.weight.scale"));
  CHECK(made.broken(without("model.norm.bias")).says("missing: model.norm.bias"));
  CHECK(made.broken(at("model.layers.0.mlp.up_proj.weight", int8_t{-128})).says("model.layers.0.mlp.up_proj.weight holds a number beyond 127 at 0"));
  CHECK(made.broken(at("model.embed_positions.weight", int8_t{-128})).says("model.embed_positions.weight holds a number beyond 127 at 0"));
  CHECK(made.broken(at("model.layers.0.input_layernorm.bias", int32_t{1 << 23})).says("model.layers.0.input_layernorm.bias holds a number beyond 4194304 at 0"));
  CHECK(made.broken(at("model.norm.weight.scale", 0.0F)).says("model.norm.weight"));
  CHECK(made.broken(at("lm_head.weight.scale", -1.0F)).says("lm_head.weight"));
  CHECK(made.broken(at("model.layers.1.self_attn.polynomial.bias", NAN)).says("model.layers.1.self_attn.polynomial: bias nan"));
  CHECK(made.broken(said("bits", "9")).says("bits = '9', which is not known"));
  CHECK(made.broken(said("granularity", "leg")).says("granularity = 'leg', which is not known"));
  CHECK(made.broken(said("mode", "other")).says("mode 'other'"));
  CHECK(made.broken(said("mode", "dynamic")).says("model.layers.0.input_layernorm.weight: type I8"));
  const Failure shape = made.broken([](Tensors& tensors, Metadata&) { find(tensors, "model.layers.0.self_attn.k_proj.weight").shape = {32, 16}; });
  CHECK(shape.says("model.layers.0.self_attn.k_proj.weight: shape [32, 16] where [16, 32] is needed"));
  CHECK(made.broken([](Tensors& tensors, Metadata&) { find(tensors, "model.layers.0.mlp.down_proj.weight").name = "other"; }).says("unexpected: other"));

  // A config.yaml that says something else.
  made.quantised(propagation());
  std::string config = get(made.dir / "integers/config.yaml");
  config.replace(config.find("model.positions: learned"), 24, "model.positions: rotary");
  put(made.dir / "integers/config.yaml", config);
  CHECK(failure_of([&] { infer::load_lm_in_engine(infer::ModelSource(made.dir / "integers")); }).says("model.positions learned (this model has rotary)"));
}

TEST_CASE("sequences that a language model of integers cannot take are named", "[scale-propagation][llama]") {
  Made made(variant([](LlamaOptions& o) { o.max_positions = 6; }));
  const auto model = made.quantised(propagation());
  const auto decoder = model->start(1);
  CHECK((model->max_positions() == 6 && model->vocabulary_size() == kVocabulary));
  CHECK(failure_of([&] { decoder->begin({}, nullptr); }).says("no tokens"));
  CHECK(failure_of([&] { decoder->begin(Tokens(7, 4), nullptr); }).says("7 tokens is longer than the 6 positions"));
  CHECK(failure_of([&] { decoder->begin({1, kVocabulary}, nullptr); }).says("token 300 is outside the vocabulary of 300"));
  const SequenceDecoder::Handle handle = decoder->begin(Tokens(6, 4), nullptr);
  CHECK(failure_of([&] { decoder->advance({handle}, {4}); }).says("7 tokens is longer than the 6 positions"));
  CHECK(model->score({{1}, {}, {1, 2}}, 1).size() == 1);
}
