#pragma once
// A Translator of random models over letters, with searches of every kind.

#include "infer/translator.h"
#include "model/torch_translation.h"
#include "models.h"

namespace seqmill::model {

using infer::Translation;
using infer::TranslatorOptions;

/// A random model over the letters that never writes unk, bos or pad.
inline std::unique_ptr<Seq2Seq> letter_model(uint64_t seed = 1, const Settings& more = {}) {
  auto model = random_model(small(more), shared_letters().sizes(), seed);
  at::Tensor bias = model->output_layer().bias.detach();
  for (const int32_t never : {0, 1, 3}) bias[never] = -20;
  return model;
}

inline search::SearchOptions beam_search(int64_t beam, int64_t n_best) {
  search::SearchOptions options;
  options.beam = beam;
  options.n_best = n_best;
  options.max_length = 14;
  return options;
}

inline search::SearchOptions sampling(int64_t n_best) {
  search::SearchOptions options = beam_search(5, n_best);
  options.sample = true;
  return options;
}

/// Greedy, beam, diverse beam, sampling.
inline std::vector<search::SearchOptions> all_searches() {
  std::vector<search::SearchOptions> all{beam_search(1, 1), beam_search(4, 3), beam_search(4, 4), sampling(2)};
  all[2].diverse_groups = 2;
  return all;
}

/// A translator with LibTorch's view of each model.
class Translator : public infer::Translator {
 public:
  Translator(const std::vector<const Seq2Seq*>& models, const infer::Vocabularies& vocabularies, const search::SearchOptions& search,
             const TranslatorOptions& options, int threads, uint64_t seed)
      : Translator(views_of(models), vocabularies, search, options, threads, seed) {}

 private:
  using Views = std::vector<std::shared_ptr<TorchTranslation>>;
  Translator(const Views& views, const infer::Vocabularies& vocabularies, const search::SearchOptions& search, const TranslatorOptions& options,
             int threads, uint64_t seed)
      : infer::Translator({pointers(views)}, vocabularies, search, options, threads, seed), views_(views) {}

  static Views views_of(const std::vector<const Seq2Seq*>& models) {
    Views views;
    for (const Seq2Seq* model : models) views.push_back(std::make_shared<TorchTranslation>(*model));
    return views;
  }
  static std::vector<const infer::TranslationModel*> pointers(const Views& views) {
    std::vector<const infer::TranslationModel*> all;
    for (const auto& view : views) all.push_back(view.get());
    return all;
  }

  Views views_;
};

inline Translator translator_of(const std::vector<const Seq2Seq*>& models, const search::SearchOptions& search,
                                int64_t batch_tokens = 2048, int threads = 1, uint64_t seed = 1) {
  TranslatorOptions options;
  options.batch_tokens = batch_tokens;
  return Translator(models, shared_letters(), search, options, threads, seed);
}

using Translations = std::vector<std::vector<Translation>>;

inline bool same(const Translation& a, const Translation& b) {
  return a.text == b.text && a.logprob == b.logprob && a.score == b.score && a.length == b.length && a.finished == b.finished;
}

inline bool same(const std::vector<Translation>& a, const std::vector<Translation>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return same(x, y); });
}

inline bool same(const Translations& a, const Translations& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return same(x, y); });
}

}  // namespace seqmill::model
