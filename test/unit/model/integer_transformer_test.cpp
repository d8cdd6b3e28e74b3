// Scale Propagation against the same models in floating point.
#include "engines.h"
#include "io/safetensors.h"
#include "kernel/scale.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

/// Random, but with steps that are not much larger than those of trained models.
std::unique_ptr<Seq2Seq> calm_model(const Settings& settings, uint64_t seed = 1) {
  auto model = build(settings, kSizes, seed);
  for (const nn::Parameter& parameter : model->parameters().all()) {
    parameter.value.detach().add_(normals(parameter.value.sizes(), ++seed * 1000) * 0.05);
  }
  return model;
}

/// The models of one test: a float model and what is made of it.
struct Made {
  Made(Seq2Seq& model, Settings settings) : settings(std::move(settings)) { put_model_directory(dir / "float", model, this->settings); }

  std::unique_ptr<infer::TranslationModel> quantised(const infer::QuantiseOptions& options) {
    fs::remove_all(dir / "integers");
    reports = infer::quantise_model(dir / "float", dir / "integers", options, 1);
    return infer::load_in_engine(infer::ModelSource(dir / "integers")).model;
  }

  TempDir dir;
  Settings settings;
  std::vector<infer::TensorReport> reports;
};

infer::QuantiseOptions propagation(int64_t bits = 8, const std::string& granularity = "row") {
  infer::QuantiseOptions options;
  options.mode = "scale-propagation";
  options.bits = bits;
  options.granularity = granularity;
  return options;
}

const std::vector<Settings> kModels{
    integer({{"dim", "32"}, {"ffn", "48"}}),
    integer({{"dim", "32"}, {"ffn", "50"}, {"norm", "post"}, {"positions", "learned"}, {"tie", "all"}, {"poly-degree", "2"}}),
    integer({{"dim", "24"}, {"ffn", "30"}, {"heads", "3"}, {"tie", "none"}, {"poly-degree", "1"}, {"positions", "learned"}}),
    integer({{"dim", "36"}, {"norm", "post"}, {"poly-degree", "4"}}),  // heads of 18
};

}  // namespace

TEST_CASE("10: 16 bits decode as real numbers do, and fewer bits lose more", "[scale-propagation]") {
  for (const Settings& settings : kModels) {
    CAPTURE(name_of(settings));
    const auto model = calm_model(settings);
    Made made(*model, settings);
    for (const char* granularity : {"row", "head", "sentence"}) {
      CAPTURE(granularity);
      CHECK(largest_difference(*made.quantised(propagation(16, granularity)), *model, 3, 20) < 2e-3);
    }
    std::vector<double> errors;
    for (const int64_t bits : {8, 6, 4}) errors.push_back(largest_difference(*made.quantised(propagation(bits)), *model, 3, 20));
    CHECK(errors[0] < 1.5);
    CHECK(errors[1] > errors[0]);
    CHECK(errors[2] > errors[1]);
  }
}

TEST_CASE("greedy translations of 16 bits are those of real numbers", "[scale-propagation]") {
  const auto model = calm_model(kModels[0], 5);
  Made made(*model, kModels[0]);
  const auto engine = made.quantised(propagation(16));
  const std::vector<Tokens> sources = ended(random_sequences({5, 1, 8, 0, 17, 9, 12}, kVocabulary, 8));
  const auto greedy = [&](const infer::TranslationModel& translation) {
    const auto decoder = translation.start(sources);
    std::vector<int32_t> parents(sources.size()), tokens(sources.size(), kBos), all;
    std::iota(parents.begin(), parents.end(), 0);
    for (int step = 0; step < 12; ++step) {
      const float* logprobs = decoder->advance(parents, tokens);
      for (size_t r = 0; r < sources.size(); ++r) {
        const float* row = logprobs + r * static_cast<size_t>(kVocabulary);
        tokens[r] = static_cast<int32_t>(std::max_element(row, row + kVocabulary) - row);
        all.push_back(tokens[r]);
      }
    }
    return all;
  };
  CHECK(greedy(*engine) == greedy(TorchTranslation(*model)));
}

TEST_CASE("integers are the same in every batch", "[scale-propagation]") {
  for (const Settings& settings : kModels) {
    for (const char* granularity : {"row", "head", "sentence"}) {
      CAPTURE(name_of(settings), granularity);
      const auto model = calm_model(settings);
      Made made(*model, settings);
      const auto engine = made.quantised(propagation(8, granularity));
      const auto start = [&](const std::vector<Tokens>& batch) { return engine->start(batch); };
      CHECK(rows_changed_by_company(ended(random_sequences({5, 1, 8, 3, 60, 12, 7}, kVocabulary, 8)), kVocabulary, start) == 0);
    }
  }
}

TEST_CASE("integers of 8 bits are the same whether 8 or 16 hold them", "[scale-propagation]") {
  for (const Settings& settings : kModels) {
    for (const char* granularity : {"row", "head", "sentence"}) {
      CAPTURE(name_of(settings), granularity);
      const auto model = calm_model(settings);
      Made made(*model, settings);
      const auto narrow = made.quantised(propagation(8, granularity));
      // The same file, which says that a sub-layer has 16 bits that the model has not.
      const io::SafetensorsFile file(made.dir / "integers/model.safetensors");
      auto metadata = file.metadata();
      metadata["wide"] = "decoder.77";
      io::write_safetensors(made.dir / "wide.safetensors", file.tensors(), metadata);
      const auto wide = engine_from({made.dir / "wide.safetensors"}, settings);
      const std::vector<Tokens> sources = ended(random_sequences({5, 1, 8, 0, 17}, kVocabulary, 8));
      const auto a = narrow->start(sources), b = wide->start(sources);
      std::vector<int32_t> parents(5), tokens(5, kBos);
      std::iota(parents.begin(), parents.end(), 0);
      double worst = 0;
      for (int step = 0; step < 6; ++step) {
        const float *x = a->advance(parents, tokens), *y = b->advance(parents, tokens);
        for (int64_t i = 0; i < static_cast<int64_t>(parents.size()) * kVocabulary; ++i) worst = std::max(worst, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
        // More rows than are worked on at a time, in another order.
        parents.clear();
        tokens.clear();
        const int32_t rows = step == 0 ? 5 : 70;
        for (int32_t r = 0; r < 70; ++r) parents.push_back(r * 7 % rows), tokens.push_back(kFirstToken + r % 19);
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("positions beyond the first table are found, and rows far down are the same alone", "[scale-propagation]") {
  const auto model = calm_model(kModels[0]);
  Made made(*model, kModels[0]);
  const auto engine = made.quantised(propagation(16));
  const std::vector<Tokens> sources = ended(random_sequences({600, 3}, kVocabulary, 8));
  const auto ours = engine->start(sources), theirs = TorchTranslation(*model).start(sources);
  double worst = 0;
  for (int step = 0; step < 300; ++step) {
    const int32_t token = step == 0 ? kBos : kFirstToken + step % 19;
    const float *a = ours->advance({0, 1}, {token, token}), *b = theirs->advance({0, 1}, {token, token});
    for (int64_t i = 0; i < 2 * kVocabulary; ++i) worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  CHECK(worst < 3e-3);
}

TEST_CASE("every way of re-scaling and rounding stays near the real numbers", "[scale-propagation]") {
  const auto model = calm_model(kModels[0]);
  Made made(*model, kModels[0]);
  for (const char* rescale : {"max", "pow2", "always"}) {
    for (const char* rounding : {"nearest", "trunc", "stochastic"}) {
      for (const char* weight_scale : {"channel", "tensor"}) {
        CAPTURE(rescale, rounding, weight_scale);
        infer::QuantiseOptions options = propagation();
        options.rescale = rescale;
        options.rounding = rounding;
        options.weight_scale = weight_scale;
        CHECK(largest_difference(*made.quantised(options), *model, 3, 20) < 3);
        options.bits = 16;
        CHECK(largest_difference(*made.quantised(options), *model, 3, 20) < 0.02);
      }
    }
  }
}

TEST_CASE("11: what is kept is computed in 16 bits, and loses nothing", "[scale-propagation]") {
  const auto model = calm_model(kModels[0]);
  Made made(*model, kModels[0]);
  const double all = largest_difference(*made.quantised(propagation(5)), *model, 3, 20);
  const auto wide = [&] {
    return std::count_if(made.reports.begin(), made.reports.end(), [](const auto& report) { return report.quantised && report.bytes_after > report.bytes_before * 2 / 5 && report.name.find("bias") == std::string::npos; });
  };
  CHECK(wide() == 0);
  double sum = 0;
  for (const char* module : {"embedding", "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross", "decoder-ffn"}) {
    CAPTURE(module);
    infer::QuantiseOptions options = propagation(5);
    options.modules = {module};
    const double one = largest_difference(*made.quantised(options), *model, 3, 20);
    CHECK(one > 2e-3);
    CHECK(one < all * 1.5);
    CHECK(wide() > 10);
    sum += one;
  }
  CHECK(sum > all / 3);
  infer::QuantiseOptions options = propagation(5);
  options.modules = {"embedding", "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross", "decoder-ffn"};
  CHECK(largest_difference(*made.quantised(options), *model, 3, 20) == all);
  CHECK(infer::Weights({made.dir / "integers/model.safetensors"}).metadata("wide").empty());
  options = propagation(5);
  options.keep = {"encoder", "decoder"};
  CHECK(largest_difference(*made.quantised(options), *model, 3, 20) < 2e-3);
  for (const char* kept : {"last-residual", "last-norm", "decoder.1", "decoder.1.ffn"}) {
    CAPTURE(kept);
    options.keep = {kept};
    CHECK(largest_difference(*made.quantised(options), *model, 3, 20) < all * 1.5);
  }
}

TEST_CASE("between embeddings and logits only scales are real numbers: their arithmetic does not grow with the width", "[scale-propagation]") {
  const auto operations = [](const Settings& settings) {
    const auto model = calm_model(settings);
    Made made(*model, settings);
    const auto engine = made.quantised(propagation());
    const std::vector<Tokens> sources{{5, 6, 7, kEos}, {9, kEos}};
    kernel::count_scale_operations(true);
    const auto decoder = engine->start(sources);
    decoder->advance({0, 1}, {kBos, kBos});
    decoder->advance({0, 0, 1}, {5, 6, 7});
    const int64_t count = kernel::scale_operations();
    kernel::count_scale_operations(false);
    return count;
  };
  for (const Settings& settings : {integer(), integer({{"norm", "post"}})}) {
    Settings narrow = settings, wide = settings;
    narrow["dim"] = "16", narrow["ffn"] = "8";
    wide["dim"] = "128", wide["ffn"] = "200";
    // Eight times the width. What is equal or fits already needs no arithmetic: a few more or less.
    const int64_t few = operations(narrow), many = operations(wide);
    CHECK(few > 500);
    CHECK(std::abs(many - few) < few / 20);
    wide["encoder-layers"] = "3";
    CHECK(operations(wide) > few * 11 / 10);
  }
}

TEST_CASE("what integers cannot compute is refused before anything is written", "[scale-propagation]") {
  const auto failure = [](const Settings& settings, const infer::QuantiseOptions& options) {
    const auto model = build(settings, kSizes);
    Made made(*model, settings);
    Failure failure = failure_of([&] { made.quantised(options); });
    CHECK_FALSE(fs::exists(made.dir / "integers"));
    return failure;
  };
  CHECK(failure(small(), propagation()).says("scale-propagation is for models of type integer-transformer; --mode dynamic takes others"));
  CHECK(failure(integer({{"attention", "softmax"}}), propagation()).says("--model.attention polynomial"));
  CHECK(failure(integer({{"norm-kind", "l2"}}), propagation()).says("--model.norm-kind l1"));
  infer::QuantiseOptions options = propagation(12);
  CHECK(failure(integer(), options).says("--bits 12: 4 to 8, or 16"));
  options.mode = "dynamic";
  options.bits = 16;
  CHECK(failure(integer(), options).says("--bits 16: 4 to 8; 16 with --mode scale-propagation"));
  options.bits = 8;
  options.granularity = "head";
  CHECK(failure(integer(), options).says("--granularity"));
  options = propagation();
  options.keep = {"decoder.9"};
  CHECK(failure(integer(), options).says("--keep-fp decoder.9: the model has no sub-layer"));
  options.keep = {"decoder.0.ffn.up"};
  CHECK(failure(integer(), options).says("the model has no sub-layer"));
  for (const char* without : {"output", "decoder.positions"}) {  // of tied and learned tables
    options.keep = {without};
    CHECK(failure(integer({{"positions", "learned"}}), options).says("the model has no sub-layer"));
  }
  CHECK(failure(integer({{"dim", "4098"}, {"ffn", "4"}}), propagation()).says("rows of 4098 integers are too long"));
}

TEST_CASE("an integer-transformer may be quantised around its products, too", "[scale-propagation]") {
  const auto model = calm_model(kModels[0]);
  Made made(*model, kModels[0]);
  CHECK(largest_difference(*made.quantised({}), *model, 3, 20) < 0.3);
  // And a file of integers does not become another model by its config.yaml.
  made.quantised(propagation());
  Settings other = small({{"dim", "32"}, {"ffn", "48"}, {"norm", "pre"}, {"positions", "sinusoidal"}, {"tie", "decoder"}});
  CHECK(failure_of([&] { engine_from({made.dir / "integers/model.safetensors"}, other); }).says("of mode scale-propagation, which is for a model of type integer-transformer"));
}
