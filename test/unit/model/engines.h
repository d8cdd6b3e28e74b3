#pragma once
// Models of LibTorch and of the engine side by side.

#include <filesystem>

#include "infer/engine.h"
#include "infer/quantise.h"
#include "model/torch_translation.h"
#include "translators.h"

namespace seqmill::model {

namespace fs = std::filesystem;
using namespace seqmill::test;

constexpr int64_t kVocabulary = 23;
const VocabularySizes kSizes{kVocabulary, kVocabulary, true};

inline void save_weights(Seq2Seq& model, const std::string& path) {
  std::vector<tensor::NamedTensor> weights;
  for (const nn::Parameter& parameter : model.parameters().all()) weights.emplace_back(parameter.name, parameter.value);
  tensor::save_tensors(path, weights);
}

inline std::unique_ptr<infer::TranslationModel> engine_with(infer::Weights weights, const Settings& settings, const VocabularySizes& sizes) {
  Options options;
  const auto config = Registry<infer::EngineType>::instance().get(type_of(settings)).config();
  config->declare(options);
  for (const auto& [key, value] : settings) {
    if (key != "type") REQUIRE(options.find("model." + key)->set({value}).empty());
  }
  auto engine = config->build(sizes, weights);
  weights.check();
  return engine;
}

inline std::unique_ptr<infer::TranslationModel> engine_in_memory(Seq2Seq& model, const Settings& settings) {
  const tensor::InMemory weights = tensor::in_memory(model.parameters().named());
  return engine_with(infer::Weights(weights.records), settings, kSizes);
}

inline std::unique_ptr<infer::TranslationModel> engine_from(const std::vector<std::string>& files, const Settings& settings,
                                                     const VocabularySizes& sizes = kSizes, bool to_bfloat16 = false) {
  return engine_with(infer::Weights(files, to_bfloat16), settings, sizes);
}

inline std::unique_ptr<infer::TranslationModel> engine_of(Seq2Seq& model, const Settings& settings, const VocabularySizes& sizes = kSizes) {
  const TempDir dir;
  save_weights(model, dir / "model.safetensors");
  return engine_from({dir / "model.safetensors"}, settings, sizes);
}

inline std::vector<Tokens> ended(std::vector<Tokens> sources) {
  for (Tokens& source : sources) source.push_back(kEos);
  return sources;
}

/// The largest difference of log-probabilities over steps of rows that come and go.
inline double largest_difference(const infer::TranslationModel& engine, const Seq2Seq& model, uint64_t seed, int steps) {
  const std::vector<Tokens> sources = ended(random_sequences({5, 1, 8, 0, 17}, kVocabulary, seed));
  const auto ours = engine.start(sources), theirs = TorchTranslation(model).start(sources);
  REQUIRE((ours->sentences() == 5 && ours->vocabulary_size() == kVocabulary));
  Rng rng(seed, "rows");
  double worst = 0;
  uint64_t rows = sources.size();
  for (int step = 0; step < steps; ++step) {
    std::vector<int32_t> parents, tokens;
    const uint64_t count = 1 + rng.below(15);
    for (uint64_t i = 0; i < count; ++i) {
      parents.push_back(static_cast<int32_t>(rng.below(rows)));
      tokens.push_back(step == 0 ? kBos : kFirstToken + static_cast<int32_t>(rng.below(kVocabulary - kFirstToken)));
    }
    std::sort(parents.begin(), parents.end());
    rows = count;
    float *a = ours->advance(parents, tokens), *b = theirs->advance(parents, tokens);
    for (uint64_t i = 0; i < count * kVocabulary; ++i) {
      const double now = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
      if (!(now <= worst)) worst = now;
      a[i] = NAN;  // the caller may overwrite them
    }
  }
  return worst;
}

/// A model directory with a vocabulary of kVocabulary pieces.
inline void put_model_directory(const std::string& directory, Seq2Seq& model, const Settings& settings) {
  fs::create_directories(directory);
  if (!fs::exists(directory + "/vocab.spm")) {
    text::VocabularyTraining training;
    training.size = kVocabulary;
    training.byte_fallback = false;
    std::string lines;
    for (const std::string& line : random_lines(80, 3)) lines += line + "\n";
    text::train_vocabulary({put(directory + "/lines", lines)}, training, directory + "/vocab.spm");
  }
  save_weights(model, directory + "/model.safetensors");
  std::string yaml = "model:\n  type: " + type_of(settings) + "\n";
  for (const auto& [key, value] : settings) {
    if (key != "type") yaml += "  " + key + ": " + value + "\n";
  }
  put(directory + "/config.yaml", yaml);
}

}  // namespace seqmill::model
