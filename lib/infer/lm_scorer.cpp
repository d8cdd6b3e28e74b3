#include "infer/lm_scorer.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/error.h"
#include "infer/token_batches.h"
#include "infer/windows.h"

namespace seqmill::infer {
namespace {

bool contains(const std::vector<int32_t>& tokens, int32_t token) { return std::find(tokens.begin(), tokens.end(), token) != tokens.end(); }

/// Of a window's scored tokens, given the log-probabilities of all but its first.
double sum_of(const Window& window, const double* logprobs) {
  double sum = 0;
  for (int64_t token = window.first_scored; token < window.end; ++token) {
    const double logprob = logprobs[token - window.begin - 1];
    if (std::isnan(logprob)) fail("token {} of the text: the model gives a log-probability that is not a number: it has diverged or is broken", token);
    sum += logprob;
  }
  return sum;
}

double per(double nll, int64_t count) { return count == 0 ? 0 : std::exp(nll / static_cast<double>(count)); }

}  // namespace

ScoredSequence sequence_of(const text::ChatTemplate& chat, const std::vector<text::Message>& messages, const std::string& response, bool with_end) {
  const Tokens prompt = chat.prompt(messages);
  std::vector<text::Message> whole = messages;
  whole.push_back({"assistant", response});
  text::ChatTokens conversation = chat.conversation(whole);
  if (prompt.empty()) fail("there is no token before the response, not even one that begins a text");
  if (conversation.tokens.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), conversation.tokens.begin())) {
    fail("template {}: a conversation does not begin with its prompt", chat.name());
  }
  size_t size = conversation.tokens.size();
  while (size > prompt.size() && !conversation.learned[size - 1]) --size;
  if (!with_end && size > prompt.size() && contains(chat.ends(), conversation.tokens[size - 1])) --size;
  conversation.tokens.resize(size);
  return {std::move(conversation.tokens), static_cast<int64_t>(prompt.size())};
}

std::vector<std::vector<double>> score_answers(const LanguageModel& model, const std::vector<ScoredSequence>& sequences, int64_t batch_tokens, int threads) {
  std::vector<size_t> sizes;
  for (const ScoredSequence& sequence : sequences) sizes.push_back(sequence.tokens.size());
  std::vector<std::vector<double>> scores(sequences.size());
  for_each_batch(sizes, batch_tokens, threads, [&](size_t begin, size_t end, int each) {
    std::vector<Tokens> batch;
    for (size_t i = begin; i < end; ++i) batch.push_back(sequences[i].tokens);
    const std::vector<double> logprobs = model.score(batch, each);
    auto next = logprobs.begin();
    for (size_t i = begin; i < end; ++i) {
      const auto after = next + static_cast<int64_t>(sizes[i]) - 1;
      scores[i].assign(next + sequences[i].first - 1, after);
      next = after;
    }
  });
  return scores;
}

double Perplexity::per_token() const { return per(nll, tokens); }
double Perplexity::per_word() const { return per(nll, words); }
double Perplexity::per_byte() const { return per(nll, bytes); }
double Perplexity::bits_per_byte() const { return bytes == 0 ? 0 : nll / static_cast<double>(bytes) / std::log(2.0); }

Perplexity score_text(const LanguageModel& model, const Tokens& text, int64_t window, int64_t stride, int64_t batch_tokens, int threads,
                      const std::function<void(int64_t)>& done) {
  const std::vector<Window> windows = plan_windows(static_cast<int64_t>(text.size()), window, stride);
  std::vector<size_t> sizes;
  for (const Window& part : windows) sizes.push_back(static_cast<size_t>(part.end - part.begin));
  // One sum a window, added up in their order: the result does not depend on which worker was faster.
  std::vector<double> sums(windows.size());
  std::mutex mutex;
  int64_t scored = 0;
  for_each_batch(sizes, batch_tokens, threads, [&](size_t begin, size_t end, int each) {
    std::vector<Tokens> batch;
    for (size_t i = begin; i < end; ++i) batch.emplace_back(text.begin() + windows[i].begin, text.begin() + windows[i].end);
    const std::vector<double> logprobs = model.score(batch, each);
    const double* values = logprobs.data();
    for (size_t i = begin; i < end; ++i) {
      sums[i] = sum_of(windows[i], values);
      values += windows[i].end - windows[i].begin - 1;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (size_t i = begin; i < end; ++i) scored += windows[i].end - windows[i].first_scored;
    done(scored);
  });
  Perplexity result;
  result.tokens = scored;
  for (const double sum : sums) result.nll -= sum;
  return result;
}

}  // namespace seqmill::infer
