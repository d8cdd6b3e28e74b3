#include "infer/translator.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/threads.h"
#include "search/ensemble.h"

namespace seqmill::infer {
namespace {

/// An ensemble's probability of a token is the mean of its members'.
std::vector<double> mean_probabilities(const std::vector<const TranslationModel*>& models, const std::vector<Tokens>& sources,
                                       const std::vector<Tokens>& targets) {
  std::vector<double> mixed = models[0]->score(sources, targets);
  for (size_t m = 1; m < models.size(); ++m) {
    const std::vector<double> more = models[m]->score(sources, targets);
    for (size_t i = 0; i < mixed.size(); ++i) {
      const double larger = std::max(mixed[i], more[i]), smaller = std::min(mixed[i], more[i]);
      mixed[i] = larger == -INFINITY ? larger : larger + std::log1p(std::exp(smaller - larger));
    }
  }
  if (models.size() > 1) {
    for (double& logprob : mixed) logprob -= std::log(static_cast<double>(models.size()));
  }
  return mixed;
}

}  // namespace

Translator::Translator(const std::vector<const TranslationModel*>& models, const Vocabularies& vocabularies,
                       const search::SearchOptions& search, const TranslatorOptions& options, int threads, uint64_t seed)
    : models_(models), vocabularies_(vocabularies), search_(search), options_(options), threads_(threads), seed_(seed) {
  for (const TranslationModel* model : models_) {
    // Sources have an end symbol, targets a begin symbol besides their tokens.
    options_.max_source = std::min(options_.max_source, model->max_positions() - 1);
    search_.max_length = std::min(search_.max_length, model->max_positions() - 1);
    search_.min_length = std::min(search_.min_length, search_.max_length);
  }
}

Tokens Translator::encode_source(const std::string& line) {
  Tokens tokens = vocabularies_.source->encode(line);
  ++counts_.lines;
  if (tokens.empty()) ++counts_.empty;
  if (static_cast<int64_t>(tokens.size()) > options_.max_source) {
    tokens.resize(static_cast<size_t>(options_.max_source));
    ++counts_.cut;
  }
  counts_.source_tokens += static_cast<int64_t>(tokens.size());
  return tokens;
}

/// Longest first, so that the last batches to be taken are short ones and the workers end together.
std::vector<std::vector<size_t>> Translator::plan(const std::vector<Tokens>& sources, const std::vector<Tokens>* targets) const {
  std::vector<size_t> order;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (targets || !sources[i].empty()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sources[a].size() > sources[b].size(); });
  // Batches enough that the workers end at about the same time, even with a short input.
  constexpr size_t kTurns = 3;
  // The work and memory of a sentence do not shrink with it beyond a point: its rows of the output layer stay.
  const auto cost = [&](size_t i) { return std::max<size_t>({sources[i].size() + 1, targets ? (*targets)[i].size() + 1 : 0, 8}); };
  size_t total = 0;
  for (const size_t i : order) total += cost(i);
  const size_t share = total / (kTurns * static_cast<size_t>(std::max(1, threads_))) + 1;
  const size_t limit = std::min(static_cast<size_t>(options_.batch_tokens), std::max<size_t>(share, 64));
  std::vector<std::vector<size_t>> batches;
  size_t tokens = 0;
  for (const size_t i : order) {
    if (batches.empty() || tokens + cost(i) > limit) {
      batches.emplace_back();
      tokens = 0;
    }
    tokens += cost(i);
    batches.back().push_back(i);
  }
  return batches;
}

void Translator::for_each_batch(const std::vector<std::vector<size_t>>& batches,
                                const std::function<void(const std::vector<size_t>&)>& work) const {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto worker = [&] {
    try {
      for (const TranslationModel* model : models_) model->begin_worker();
      for (size_t batch = next++; batch < batches.size(); batch = next++) {
        work(batches[batch]);
        const std::lock_guard<std::mutex> lock(mutex);
        if (batch_done_) batch_done_(static_cast<int64_t>(batches[batch].size()));
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!error) error = std::current_exception();
      next = batches.size();
    }
  };
  const size_t count = std::min(static_cast<size_t>(std::max(1, threads_)), batches.size());
  // One core per batch beats several cores on one batch: each worker computes in its own thread only.
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    try {
      threads.emplace_back([&] {
        set_threads(1);
        worker();
      });
    } catch (const std::system_error& refused) {
      // Those that started do the work of all.
      if (threads.empty()) fail("cannot start a thread: {}", refused.what());
      break;
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

Tokens Translator::encode_target(const std::string& text, const char* what, size_t line) const {
  Tokens tokens = vocabularies_.target->encode(text);
  for (const TranslationModel* model : models_) {
    if (static_cast<int64_t>(tokens.size()) >= model->max_positions()) {
      fail("line {}: the {} has {} tokens, the model has positions for {}", line + 1, what, tokens.size(), model->max_positions() - 1);
    }
  }
  return tokens;
}

std::vector<std::vector<Translation>> Translator::translate(const std::vector<std::string>& lines,
                                                            const std::vector<std::string>& prefixes, int64_t first_line) {
  std::vector<Tokens> sources;
  for (const std::string& line : lines) sources.push_back(encode_source(line));
  std::vector<std::vector<Translation>> results(lines.size());
  std::mutex counts;
  for_each_batch(plan(sources, nullptr), [&](const std::vector<size_t>& batch) {
    std::vector<Tokens> members;
    std::vector<search::SentenceInput> inputs;
    for (const size_t i : batch) {
      members.push_back(sources[i]);
      members.back().push_back(vocabularies_.source->eos());
      search::SentenceInput input;
      input.source_length = static_cast<int64_t>(sources[i].size());
      if (!prefixes.empty()) input.prefix = encode_target(prefixes[i], "prefix", static_cast<size_t>(first_line) + i);
      input.line = static_cast<uint64_t>(first_line) + i;
      inputs.push_back(std::move(input));
    }
    std::vector<std::unique_ptr<search::StepDecoder>> decoders;
    for (const TranslationModel* model : models_) decoders.push_back(model->start(members));
    std::unique_ptr<search::StepDecoder> decoder =
        decoders.size() == 1 ? std::move(decoders[0]) : std::make_unique<search::Ensemble>(std::move(decoders));
    const auto found = search::search(*decoder, inputs, vocabularies_.target->bos(), vocabularies_.target->eos(), search_, seed_);
    for (size_t b = 0; b < batch.size(); ++b) {
      for (const search::Hypothesis& hypothesis : found[b]) {
        results[batch[b]].push_back({vocabularies_.target->decode(hypothesis.tokens), hypothesis.logprob, hypothesis.score,
                                     static_cast<int64_t>(hypothesis.tokens.size()), hypothesis.finished});
      }
    }
    const std::lock_guard<std::mutex> lock(counts);
    for (size_t b = 0; b < batch.size(); ++b) {
      if (found[b].empty()) continue;
      counts_.target_tokens += static_cast<int64_t>(found[b][0].tokens.size());
      counts_.unfinished += found[b][0].finished ? 0 : 1;
    }
  });
  return results;
}

std::vector<Translation> Translator::score(const std::vector<std::string>& lines, const std::vector<std::string>& targets) {
  std::vector<Tokens> sources, outputs;
  for (const std::string& line : lines) sources.push_back(encode_source(line));
  for (const std::string& target : targets) {
    outputs.push_back(encode_target(target, "target", static_cast<size_t>(counts_.lines) - lines.size() + outputs.size()));
    counts_.target_tokens += static_cast<int64_t>(outputs.back().size());
  }
  std::vector<Translation> results(lines.size());
  for_each_batch(plan(sources, &outputs), [&](const std::vector<size_t>& chosen) {
    std::vector<Tokens> batch_sources, batch_targets;
    for (const size_t i : chosen) {
      batch_sources.push_back(sources[i]);
      batch_sources.back().push_back(vocabularies_.source->eos());
      batch_targets.push_back({vocabularies_.target->bos()});
      batch_targets.back().insert(batch_targets.back().end(), outputs[i].begin(), outputs[i].end());
      batch_targets.back().push_back(vocabularies_.target->eos());
    }
    const std::vector<double> logprobs = mean_probabilities(models_, batch_sources, batch_targets);
    const double* values = logprobs.data();
    for (size_t b = 0; b < chosen.size(); ++b) {
      Translation& result = results[chosen[b]];
      const auto steps = static_cast<int64_t>(batch_targets[b].size()) - 1;
      result.text = targets[chosen[b]];
      result.length = steps - 1;
      result.logprob = std::accumulate(values, values + steps, 0.0);
      if (std::isnan(result.logprob)) fail("the model gives a log-probability that is not a number: it has diverged or is broken");
      result.score = result.logprob / static_cast<double>(steps);
      values += steps;
    }
  });
  return results;
}

}  // namespace seqmill::infer
