#pragma once
// What the tests of model and train share: small random models, batches of random pairs, tiny vocabularies.

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "data/batch.h"
#include "model/load.h"
#include "support/files.h"
#include "tensor/runtime.h"
#include "tensor/weights.h"
#include "unit/tensor/tensors.h"

namespace seqmill::model {

using infer::load_vocabularies;
using infer::Vocabularies;
using infer::VocabularySizes;

using data::Tokens;
using test::normals;

inline const bool kRuntimeIsReady = (tensor::set_up_runtime(1), log::set_level(log::Level::kOff), true);

constexpr int32_t kBos = 1, kEos = 2;
constexpr int32_t kFirstToken = 4;  // the ids before it are unk, bos, eos, pad

/// Options of a model, without "model."; those of a Transformer unless there is a "type".
using Settings = std::map<std::string, std::string>;

/// A Transformer of two layers a side, small enough for thousands of passes, with `more` changed.
inline Settings small(const Settings& more = {}) {
  Settings settings{{"dim", "16"}, {"ffn", "24"}, {"heads", "2"}, {"encoder-layers", "2"}, {"decoder-layers", "2"}};
  for (const auto& [key, value] : more) settings[key] = value;
  return settings;
}

/// The same of an Integer Transformer.
inline Settings integer(const Settings& more = {}) {
  Settings settings = small({{"type", "integer-transformer"}, {"norm", "pre"}, {"positions", "sinusoidal"}, {"tie", "decoder"}, {"activation", "relu"}});
  for (const auto& [key, value] : more) settings[key] = value;
  return settings;
}

/// Every combination of norm, positions and tied embeddings, and some Integer Transformers.
inline std::vector<Settings> grid() {
  std::vector<Settings> all;
  for (const char* norm : {"pre", "post"}) {
    for (const char* positions : {"sinusoidal", "learned", "rotary"}) {
      for (const char* tie : {"none", "decoder", "all"}) {
        const std::string activation = all.size() % 2 == 0 ? "relu" : "gelu";
        all.push_back(small({{"norm", norm}, {"positions", positions}, {"tie", tie}, {"activation", activation}}));
      }
    }
  }
  for (const auto& [norm, positions, tie, degree] : std::vector<std::array<const char*, 4>>{
           {"pre", "sinusoidal", "all", "3"}, {"post", "learned", "decoder", "2"}, {"pre", "learned", "none", "1"}, {"post", "sinusoidal", "all", "4"}}) {
    all.push_back(integer({{"norm", norm}, {"positions", positions}, {"tie", tie}, {"poly-degree", degree}}));
  }
  all.push_back(integer({{"attention", "softmax"}}));
  all.push_back(integer({{"norm-kind", "l2"}}));
  return all;
}

inline std::string type_of(const Settings& settings) {
  const auto found = settings.find("type");
  return found == settings.end() ? "transformer" : found->second;
}

inline std::string name_of(const Settings& settings) {
  std::string name;
  for (const auto& [key, value] : settings) name += key + " " + value + ", ";
  return name;
}

inline std::unique_ptr<Seq2Seq> build(const Settings& settings, const VocabularySizes& sizes, std::optional<uint64_t> seed = 1) {
  Options options;
  std::string type = type_of(settings);
  const std::unique_ptr<Seq2SeqConfig> config = declare_seq2seq(options, type);
  for (const auto& [key, value] : settings) {
    if (key == "type") continue;
    Option* option = options.find("model." + key);
    if (!option) fail("the test sets model.{}, which does not exist", key);
    if (const std::string wrong = option->set({value}); !wrong.empty()) fail("model.{}: {}", key, wrong);
  }
  return config->build(sizes, seed);
}

/// Moves every parameter away from its start, so that no bias is 0 and no norm is 1.
inline void shake(Seq2Seq& model, uint64_t seed) {
  for (const nn::Parameter& parameter : model.parameters().all()) {
    parameter.value.detach().add_(normals(parameter.value.sizes(), ++seed * 1000) * 0.2);
  }
}

inline std::unique_ptr<Seq2Seq> random_model(const Settings& settings, const VocabularySizes& sizes, uint64_t seed = 1) {
  auto model = build(settings, sizes, seed);
  shake(*model, seed);
  return model;
}

/// The same model in double: LibTorch's general operators instead of our kernels.
inline std::unique_ptr<Seq2Seq> general_twin(const Settings& settings, const VocabularySizes& sizes, uint64_t seed = 1) {
  auto model = random_model(settings, sizes, seed);
  model->parameters().to(at::kCPU, at::kDouble);
  return model;
}

inline std::vector<Tokens> random_sequences(const std::vector<int64_t>& lengths, int64_t vocabulary, uint64_t seed) {
  Rng rng(seed, "sequences");
  std::vector<Tokens> sequences;
  for (const int64_t length : lengths) {
    Tokens& tokens = sequences.emplace_back();
    for (int64_t i = 0; i < length; ++i) {
      tokens.push_back(kFirstToken + static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocabulary - kFirstToken))));
    }
  }
  return sequences;
}

inline data::Batch batch_of(const std::vector<Tokens>& sources, const std::vector<Tokens>& targets) {
  return data::make_batch(sources, targets, kEos, kBos, kEos);
}

inline data::PackedTokens packed(const std::vector<Tokens>& sources) { return data::pack(sources, -1, kEos); }

/// The letters a to h as pieces of their own when `size` is 13; more pieces are made of them.
inline std::shared_ptr<const text::Vocabulary> letters(int64_t size = 13) {
  static std::map<int64_t, std::shared_ptr<const text::Vocabulary>> known;
  auto& vocabulary = known[size];
  if (vocabulary) return vocabulary;
  const test::TempDir dir;
  Rng rng(7, "letters");
  std::string text;
  for (int line = 0; line < 100; ++line) {
    for (int i = 0; i < 20; ++i) text += i % 5 == 4 ? ' ' : static_cast<char>('a' + rng.below(8));
    text += "\n";
  }
  text::VocabularyTraining training;
  training.size = size;
  training.byte_fallback = false;
  text::train_vocabulary({test::put(dir / "text", text)}, training, dir / "v");
  return vocabulary = std::make_shared<const text::Vocabulary>(dir / "v");
}

inline Vocabularies shared_letters() { return {letters(), letters()}; }

/// Lines of one to four words of the letters a to h.
inline std::vector<std::string> random_lines(int count, uint64_t seed) {
  Rng rng(seed, "lines");
  std::vector<std::string> lines;
  for (int line = 0; line < count; ++line) {
    std::string& text = lines.emplace_back();
    for (uint64_t words = 1 + rng.below(4); words > 0; --words) {
      for (uint64_t n = 1 + rng.below(5); n > 0; --n) text += static_cast<char>('a' + rng.below(8));
      if (words > 1) text += ' ';
    }
  }
  return lines;
}

/// Over five steps of sentences together and of each alone: how often the log-probabilities of a row are not the same bits. `start` makes a decoder of
/// sources.
template <typename Start>
size_t rows_changed_by_company(const std::vector<Tokens>& sources, int64_t vocabulary, Start start) {
  const auto all = start(sources);
  std::vector<std::unique_ptr<search::StepDecoder>> alone;
  for (const Tokens& source : sources) alone.push_back(start({source}));
  std::vector<int32_t> rows;
  for (size_t s = 0; s < sources.size(); ++s) rows.push_back(static_cast<int32_t>(s));
  size_t differ = 0;
  for (int32_t step = 0; step < 5; ++step) {
    const std::vector<int32_t> tokens(sources.size(), step == 0 ? kBos : kFirstToken + step);
    const float* logprobs = all->advance(rows, tokens);
    for (size_t s = 0; s < sources.size(); ++s) {
      const float* own = alone[s]->advance({0}, {tokens[s]});
      differ += std::memcmp(own, logprobs + static_cast<int64_t>(s) * vocabulary, static_cast<size_t>(vocabulary) * sizeof(float)) != 0;
    }
  }
  return differ;
}

}  // namespace seqmill::model
