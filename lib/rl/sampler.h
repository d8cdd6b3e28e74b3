#pragma once
// Stage 1 of two-stage sampling (ESRL): candidates are drawn without gradient, by the inference engine with the weights of the moment or by LibTorch; tokens are kept, and how probable they were, but no graph.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/generator.h"
#include "infer/language_model.h"
#include "infer/translation_model.h"
#include "infer/vocabularies.h"
#include "rl/capability.h"
#include "search/search.h"
#include "text/chat.h"

namespace seqmill::rl {

/// What is drawn for an input.
struct Draw {
  const infer::Tokens* input = nullptr;  ///< a source without its end symbol, or a prompt
  std::string place;                     ///< for messages
  int64_t number = 0;                    ///< names the streams of its random numbers: one a sample, whatever else is drawn beside it
  int64_t samples = 1;
  double temperature = 1;                ///< 0: the one greedy output
};

struct Drawn {
  infer::Tokens tokens;      ///< with what ended it
  std::string text;
  int64_t length = 0;        ///< tokens without what ended it
  bool finished = true;      ///< false: cut off at the length limit
  double logprob = 0;        ///< of `tokens` under the model as it was sampled
  double drawn_logprob = 0;  ///< with temperature and truncation
  StepStatistics observed;
};

struct SamplingOptions {
  int64_t top_k = 0;
  double top_p = 1;
  int64_t min_length = 0;
  int64_t max_length = 256;   ///< tokens, without what ends an output
  double max_ratio = 1.2;     ///< of translations: and floor(max_ratio * source tokens) + max_extra
  int64_t max_extra = 20;
  int64_t batch = 64;         ///< of language models: rows of a worker
  int64_t batch_tokens = 2048;  ///< of translations: source tokens, times candidates, of a worker's batch

  void declare_common(Options& options);       ///< keys "sampling.<name>"
  void declare_translation(Options& options);
  void declare_language(Options& options);
  void check() const;
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  /// From now on candidates are drawn with the weights as they are: what stands behind the engine is packed anew.
  virtual void take_weights() = 0;
  /// For each input its samples in order. With so many threads; what one input gets depends on its draw and the seed alone, but for rounding. Throws Error naming the place when the model
  /// gives NaN.
  virtual std::vector<std::vector<Drawn>> draw(const std::vector<Draw>& draws, uint64_t seed, int threads) = 0;
  virtual int64_t vocabulary_size() const = 0;
};

/// `make`: the model with the weights of the moment. Vocabularies, tokeniser and template must outlive the sampler.
std::unique_ptr<Sampler> make_sampler(std::function<std::unique_ptr<infer::TranslationModel>()> make, const infer::Vocabularies& vocabularies, const SamplingOptions& options);
std::unique_ptr<Sampler> make_sampler(std::function<std::unique_ptr<infer::LanguageModel>()> make, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, const SamplingOptions& options);

}  // namespace seqmill::rl
