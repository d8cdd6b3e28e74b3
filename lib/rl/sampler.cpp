#include "rl/sampler.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "infer/token_batches.h"

namespace seqmill::rl {
namespace {

using infer::Tokens;

class TranslationSampler final : public Sampler {
 public:
  TranslationSampler(std::function<std::unique_ptr<infer::TranslationModel>()> make, const infer::Vocabularies& vocabularies, const SamplingOptions& options)
      : make_(std::move(make)), vocabularies_(vocabularies), options_(options) {}

  void take_weights() override {
    model_.reset();  // not both at a time
    model_ = make_();
  }
  int64_t vocabulary_size() const override { return vocabularies_.target->size(); }

  std::vector<std::vector<Drawn>> draw(const std::vector<Draw>& draws, uint64_t seed, int threads) override {
    std::vector<std::vector<Drawn>> all(draws.size());
    // Greedy outputs are another search, and longest first leaves the short ones for the end.
    for (const bool greedy : {false, true}) {
      std::vector<size_t> order;
      for (size_t i = 0; i < draws.size(); ++i) {
        if ((draws[i].temperature == 0) == greedy) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return draws[a].input->size() > draws[b].input->size(); });
      std::vector<size_t> sizes;
      for (const size_t i : order) sizes.push_back((draws[i].input->size() + 1) * static_cast<size_t>(greedy ? 1 : draws[i].samples));
      // A worker has several batches, so that all end at about the same time.
      const size_t share = std::accumulate(sizes.begin(), sizes.end(), size_t{0}) / (3 * static_cast<size_t>(std::max(1, threads))) + 1;
      const auto limit = std::min<int64_t>(options_.batch_tokens, std::max<int64_t>(64, static_cast<int64_t>(share)));
      infer::for_each_batch(sizes, limit, threads, [&](size_t begin, size_t end, int each) {
        if (each == 1 && threads > 1) model_->begin_worker();  // a thread of its own
        const std::vector<size_t> items(order.begin() + static_cast<std::ptrdiff_t>(begin), order.begin() + static_cast<std::ptrdiff_t>(end));
        search_batch(draws, items, greedy, seed, all);
      });
    }
    return all;
  }

 private:
  void search_batch(const std::vector<Draw>& draws, const std::vector<size_t>& items, bool greedy, uint64_t seed, std::vector<std::vector<Drawn>>& all) const {
    std::vector<Tokens> sources;
    std::vector<search::SentenceInput> inputs;
    for (const size_t i : items) {
      sources.push_back(*draws[i].input);
      search::SentenceInput input;
      input.source_length = static_cast<int64_t>(sources.back().size());
      input.line = static_cast<uint64_t>(draws[i].number);
      input.name = draws[i].place;
      input.samples = draws[i].samples;
      input.temperature = greedy ? 0 : draws[i].temperature;
      inputs.push_back(std::move(input));
      sources.back().push_back(vocabularies_.source->eos());
    }
    search::SearchOptions options;
    options.beam = 1;
    options.sample = !greedy;
    options.observe = true;
    options.top_k = greedy ? 0 : options_.top_k;
    options.top_p = greedy ? 1 : options_.top_p;
    options.min_length = options_.min_length;
    options.max_length = std::min(options_.max_length, model_->max_positions() - 1);
    options.max_ratio = options_.max_ratio;
    options.max_extra = options_.max_extra;
    options.length_penalty = "none";
    const int32_t eos = vocabularies_.target->eos();
    const std::unique_ptr<search::StepDecoder> decoder = model_->start(sources);
    const auto found = search::search(*decoder, inputs, vocabularies_.target->bos(), eos, options, seed);
    for (size_t k = 0; k < items.size(); ++k) {
      for (const search::Hypothesis& hypothesis : found[k]) {
        Drawn drawn{hypothesis.tokens, vocabularies_.target->decode(hypothesis.tokens), static_cast<int64_t>(hypothesis.tokens.size()), hypothesis.finished, hypothesis.logprob,
                    hypothesis.drawn_logprob, hypothesis.observed};
        if (drawn.finished) drawn.tokens.push_back(eos);
        all[items[k]].push_back(std::move(drawn));
      }
    }
  }

  const std::function<std::unique_ptr<infer::TranslationModel>()> make_;
  const infer::Vocabularies& vocabularies_;
  const SamplingOptions options_;
  std::unique_ptr<infer::TranslationModel> model_;
};

class LanguageSampler final : public Sampler {
 public:
  LanguageSampler(std::function<std::unique_ptr<infer::LanguageModel>()> make, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, const SamplingOptions& options)
      : make_(std::move(make)), tokenizer_(tokenizer), chat_(chat), options_(options) {}

  void take_weights() override {
    model_.reset();
    model_ = make_();
  }
  int64_t vocabulary_size() const override { return tokenizer_.size(); }

  std::vector<std::vector<Drawn>> draw(const std::vector<Draw>& draws, uint64_t seed, int threads) override {
    infer::GeneratorOptions options;
    options.sampler.top_k = options_.top_k;
    options.sampler.top_p = options_.top_p;
    options.batch = options_.batch;
    options.observe = true;
    for (const Draw& draw : draws) options.samples = std::max(options.samples, draw.samples);  // rows that a prompt takes
    infer::Generator generator(*model_, tokenizer_, chat_, options, seed);
    std::map<int64_t, size_t> places;  // by number, which a result comes back with
    for (size_t i = 0; i < draws.size(); ++i) {
      if (!places.emplace(draws[i].number, i).second) fail("{}: two draws of one number", draws[i].place);
    }
    size_t next = 0;
    const auto source = [&](infer::GenerationRequest& request, bool) {
      if (next == draws.size()) return infer::Next::kEnd;
      request = request_of(draws[next++]);
      return infer::Next::kRequest;
    };
    std::vector<std::vector<Drawn>> all(draws.size());
    generator.run(infer::plan_generation(static_cast<int64_t>(draws.size()), options, threads), source, [&](const infer::GenerationRequest& request, std::vector<infer::Generated> results) {
      for (infer::Generated& result : results) all[places.at(request.number)].push_back(drawn(std::move(result)));
    });
    return all;
  }

 private:
  infer::GenerationRequest request_of(const Draw& draw) const {
    const int64_t room = model_->max_positions() - static_cast<int64_t>(draw.input->size());
    if (room < 1) fail("{}: the prompt takes all {} positions of the model", draw.place, model_->max_positions());
    infer::GenerationRequest request;
    request.number = draw.number;
    request.id = draw.place;
    request.prompt = *draw.input;
    request.samples = draw.temperature == 0 ? 1 : draw.samples;
    request.temperature = draw.temperature;
    request.max_new = std::min(options_.max_length, room);
    request.min_new = std::min(options_.min_length, request.max_new);
    return request;
  }

  static Drawn drawn(infer::Generated result) {
    Drawn drawn{std::move(result.tokens), std::move(result.text), 0, result.finish == infer::Finish::kEnd, result.logprob, result.drawn_logprob, result.observed};
    drawn.length = static_cast<int64_t>(drawn.tokens.size());
    if (drawn.finished) drawn.tokens.push_back(result.end);
    return drawn;
  }

  const std::function<std::unique_ptr<infer::LanguageModel>()> make_;
  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate& chat_;
  const SamplingOptions options_;
  std::unique_ptr<infer::LanguageModel> model_;
};

}  // namespace

void SamplingOptions::check() const {
  if (min_length > max_length) fail_usage("--sampling.min-length {} is more than --sampling.max-length {}", min_length, max_length);
  if (max_ratio == 0 && max_extra == 0) fail_usage("--sampling.max-ratio 0 and --sampling.max-extra 0 leave no room for a token");
}

void SamplingOptions::declare_common(Options& options) {
  options.add("sampling.top-k", top_k, "Draw among this many most probable tokens; 0: all").range(0);
  options.add("sampling.top-p", top_p, "Draw among the fewest tokens of this total probability").range(0.001, 1);
  options.add("sampling.min-length", min_length, "Tokens before a candidate may end").range(0);
  options.add("sampling.max-length", max_length, "Tokens after which a candidate is cut off").range(1);
}

void SamplingOptions::declare_translation(Options& options) {
  options.add("sampling.max-ratio", max_ratio, "Tokens of a candidate, as a multiple of the source's").range(0);
  options.add("sampling.max-extra", max_extra, "Tokens of a candidate beyond that").range(0);
  options.add("sampling.batch-tokens", batch_tokens, "Source tokens, counted for each candidate, that a worker decodes at a time; changes speed and memory, not the result").range(1);
}

void SamplingOptions::declare_language(Options& options) {
  options.add("sampling.batch", batch, "Candidates that a worker decodes at a time; changes speed and memory, not the result").range(1);
}

std::unique_ptr<Sampler> make_sampler(std::function<std::unique_ptr<infer::TranslationModel>()> make, const infer::Vocabularies& vocabularies, const SamplingOptions& options) {
  return std::make_unique<TranslationSampler>(std::move(make), vocabularies, options);
}

std::unique_ptr<Sampler> make_sampler(std::function<std::unique_ptr<infer::LanguageModel>()> make, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                      const SamplingOptions& options) {
  return std::make_unique<LanguageSampler>(std::move(make), tokenizer, chat, options);
}

}  // namespace seqmill::rl
