// The engine against LibTorch on the same weights.
#include "engines.h"
#include "kernel/packed_bf16.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;
namespace fs = std::filesystem;

TEST_CASE("the engine decodes as LibTorch does", "[engine]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    CHECK(largest_difference(*engine_of(*model, settings), *model, 3, 40) < 1e-4);
  }
  const Settings wide = small({{"dim", "96"}, {"ffn", "200"}, {"heads", "3"}, {"encoder-layers", "1"}, {"decoder-layers", "3"}});
  const auto model = random_model(wide, kSizes);
  CHECK(largest_difference(*engine_of(*model, wide), *model, 4, 60) < 1e-4);
}

TEST_CASE("the engine takes weights from memory and leaves them there", "[engine]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    model->parameters().flatten();
    for (const double change : {0.0, 0.05}) {  // as between two updates
      {
        at::NoGradGuard no_grad;
        model->parameters().flat_values().add_(normals(model->parameters().flat_values().sizes(), 3), change);
      }
      const at::Tensor before = model->parameters().flat_values().clone();
      const auto engine = engine_in_memory(*model, settings);
      CHECK(at::equal(before, model->parameters().flat_values()));
      CHECK(largest_difference(*engine, *model, 3, 10) < 2e-4);
    }
  }
  // A value head is nobody's business.
  const auto model = random_model(small(), kSizes);
  model->parameters().add(io::kValueWeight, {1, 16}, nn::Init::constant(1), true);
  CHECK(largest_difference(*engine_in_memory(*model, small()), *model, 3, 10) < 2e-4);
  std::vector<io::TensorRecord> twice(2);
  twice[0].name = twice[1].name = "w";
  CHECK(failure_of([&] { infer::Weights weights(twice); }).says("w is there twice"));
}

TEST_CASE("source and target may have vocabularies of their own in the engine", "[engine]") {
  const VocabularySizes sizes{31, 23, false};
  for (const char* tie : {"none", "decoder"}) {
    const Settings settings = small({{"tie", tie}});
    const auto model = random_model(settings, sizes);
    const auto engine = engine_of(*model, settings, sizes);
    const std::vector<Tokens> sources{{30, 4, kEos}, {kEos}};
    const auto ours = engine->start(sources), theirs = TorchTranslation(*model).start(sources);
    const float *a = ours->advance({0, 1}, {kBos, kBos}), *b = theirs->advance({0, 1}, {kBos, kBos});
    for (int i = 0; i < 46; ++i) CHECK(a[i] == Approx(b[i]).margin(1e-4));
    CHECK(failure_of([&] { engine->start({{31, kEos}}); }).says("token 31 is outside the vocabulary of 31"));
    CHECK(failure_of([&] { ours->advance({0}, {23}); }).says("token 23 is outside the vocabulary of 23"));
  }
}

TEST_CASE("the other sentences of a batch change no bit of the engine's decoding", "[engine]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto engine = engine_of(*random_model(settings, kSizes), settings);
    const std::vector<Tokens> sources = ended(random_sequences({5, 1, 8, 3, 3, 12, 7}, kVocabulary, 8));
    const auto start = [&](const std::vector<Tokens>& batch) { return engine->start(batch); };
    CHECK(rows_changed_by_company(sources, kVocabulary, start) == 0);
  }
}

TEST_CASE("the engine scores as LibTorch does", "[engine]") {
  const auto model = random_model(small(), kSizes);
  const auto engine = engine_of(*model, small());
  const std::vector<Tokens> sources = ended(random_sequences({4, 9, 0}, kVocabulary, 1));
  std::vector<Tokens> targets = ended(random_sequences({7, 0, 3}, kVocabulary, 2));
  for (Tokens& target : targets) target.insert(target.begin(), kBos);
  const std::vector<double> ours = engine->score(sources, targets), theirs = TorchTranslation(*model).score(sources, targets);
  REQUIRE((ours.size() == 13 && theirs.size() == 13));
  for (size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == Approx(theirs[i]).margin(1e-4));
  CHECK(engine->score({}, {}).empty());
}

TEST_CASE("learned positions end in the engine too", "[engine]") {
  const Settings settings = small({{"positions", "learned"}, {"max-positions", "6"}});
  const auto engine = engine_of(*random_model(settings, kSizes), settings);
  CHECK(engine->max_positions() == 6);
  CHECK(failure_of([&] { engine->start(ended(random_sequences({6}, kVocabulary, 1))); }).says("model.max-positions"));
}

TEST_CASE("the engine takes the mean of several files", "[engine]") {
  const TempDir dir;
  const auto one = random_model(small(), kSizes, 1), other = random_model(small(), kSizes, 2), mean = random_model(small(), kSizes, 3);
  save_weights(*one, dir / "1");
  save_weights(*other, dir / "2");
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < mean->parameters().all().size(); ++i) {
    mean->parameters().all()[i].value.copy_((one->parameters().all()[i].value + other->parameters().all()[i].value) / 2);
  }
  CHECK(largest_difference(*engine_from({dir / "1", dir / "2"}, small()), *mean, 3, 10) < 1e-4);
}

TEST_CASE("weights of other types are read, those that do not fit are named", "[engine]") {
  const TempDir dir;
  const auto model = random_model(small(), kSizes);
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16, at::kHalf}) {
    std::vector<tensor::NamedTensor> weights;
    at::NoGradGuard no_grad;
    for (const nn::Parameter& parameter : model->parameters().all()) {
      weights.emplace_back(parameter.name, parameter.value.to(type));
      parameter.value.copy_(weights.back().second.to(at::kFloat));
    }
    tensor::save_tensors(dir / "typed", weights);
    CHECK(largest_difference(*engine_from({dir / "typed"}, small()), *model, 3, 5) < 1e-4);
  }
  save_weights(*model, dir / "whole");
  Failure failure = failure_of([&] { engine_from({dir / "whole"}, small({{"ffn", "25"}})); });
  CHECK(failure.says("encoder.0.ffn.up.weight: shape [24, 16] where [25, 16] is needed"));
  failure = failure_of([&] { engine_from({dir / "whole"}, small({{"encoder-layers", "3"}})); });
  CHECK(failure.says("missing: encoder.2.attention.norm.weight"));
  failure = failure_of([&] { engine_from({dir / "whole"}, small({{"encoder-layers", "1"}})); });
  CHECK(failure.says("unexpected: "));
  CHECK(failure.says("encoder.1.ffn.down.bias"));
  std::vector<tensor::NamedTensor> integers;
  for (const nn::Parameter& parameter : model->parameters().all()) integers.emplace_back(parameter.name, parameter.value.detach().to(at::kLong));
  tensor::save_tensors(dir / "integers", integers);
  CHECK(failure_of([&] { engine_from({dir / "integers"}, small()); }).says("type I64 where a floating-point type is needed"));
}

TEST_CASE("a model of integers decodes nearly as that of real numbers, alike in every batch", "[engine][int8]") {
  const TempDir dir;
  for (const char* tie : {"none", "all"}) {
    const Settings settings = small({{"tie", tie}, {"dim", "32"}, {"ffn", "48"}});
    const auto model = build(settings, kSizes);
    put_model_directory(dir / "float", *model, settings);
    fs::remove_all(dir / "int8");
    double last = 0;
    for (const int64_t bits : {8, 6, 4}) {
      infer::QuantiseOptions options;
      options.bits = bits;
      fs::remove_all(dir / "int8");
      const auto reports = infer::quantise_model(dir / "float", dir / "int8", options, 1);
      CHECK(std::count_if(reports.begin(), reports.end(), [](const auto& report) { return report.quantised; }) == (tie == std::string("all") ? 23 : 25));
      const auto engine = engine_from({dir / "int8/model.safetensors"}, settings);
      const double now = largest_difference(*engine, *model, 3, 20);
      CHECK((now > last && now < (bits == 8 ? 0.2 : 3)));
      last = now;
      const auto start = [&](const std::vector<Tokens>& batch) { return engine->start(batch); };
      CHECK(rows_changed_by_company(ended(random_sequences({5, 1, 8}, kVocabulary, 8)), kVocabulary, start) == 0);
    }
  }
  // Weights that are not finite, and rows of zeros.
  const Settings settings = small({{"tie", "all"}, {"dim", "32"}, {"ffn", "48"}});  // those of config.yaml
  const auto model = build(settings, kSizes);
  at::NoGradGuard no_grad;
  at::Tensor weight = model->parameters().all()[0].value;
  weight[3].fill_(0);
  save_weights(*model, dir / "float/model.safetensors");
  fs::remove_all(dir / "zeros");
  infer::quantise_model(dir / "float", dir / "zeros", {}, 1);
  CHECK(infer::Weights({dir / "zeros/model.safetensors"}).take_int8(model->parameters().all()[0].name, kVocabulary, 32).scales[3] == 1);
  weight[3][2] = NAN;
  save_weights(*model, dir / "float/model.safetensors");
  CHECK(failure_of([&] { infer::quantise_model(dir / "float", dir / "nan", {}, 1); }).says("holds nan at 98"));
  CHECK_FALSE(fs::exists(dir / "nan"));
}

TEST_CASE("the engine in bfloat16 decodes nearly as in float32", "[engine]") {
  if (!kernel::has_bfloat16_products()) return;
  const TempDir dir;
  for (const Settings& settings : grid()) {
    const auto model = build(settings, kSizes);
    save_weights(*model, dir / "weights");
    const double difference = largest_difference(*engine_from({dir / "weights"}, settings, kSizes, true), *model, 3, 20);
    CHECK((difference > 0 && difference < 0.1));
  }
}
