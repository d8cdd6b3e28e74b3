#include "infer/lm_scorer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "infer/windows.h"

namespace seqmill::infer {
namespace {

bool contains(const std::vector<int32_t>& tokens, int32_t token) { return std::find(tokens.begin(), tokens.end(), token) != tokens.end(); }

/// Where the sequences from `begin` on that are computed together end: past that of this many tokens, or one sequence.
size_t batch_end(const std::vector<size_t>& sizes, size_t begin, int64_t batch_tokens) {
  size_t end = begin + 1, tokens = sizes[begin];
  while (end < sizes.size() && tokens + sizes[end] <= static_cast<size_t>(batch_tokens)) tokens += sizes[end++];
  return end;
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
  std::vector<std::vector<double>> scores;
  for (size_t begin = 0, end; begin < sequences.size(); begin = end) {
    end = batch_end(sizes, begin, batch_tokens);
    std::vector<Tokens> batch;
    for (size_t i = begin; i < end; ++i) batch.push_back(sequences[i].tokens);
    const std::vector<double> logprobs = model.score(batch, threads);
    auto next = logprobs.begin();
    for (size_t i = begin; i < end; ++i) {
      const auto after = next + static_cast<int64_t>(sizes[i]) - 1;
      scores.emplace_back(next + sequences[i].first - 1, after);
      next = after;
    }
  }
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
  Perplexity result;
  for (size_t begin = 0, end; begin < windows.size(); begin = end) {
    end = batch_end(sizes, begin, batch_tokens);
    std::vector<Tokens> batch;
    for (size_t i = begin; i < end; ++i) batch.emplace_back(text.begin() + windows[i].begin, text.begin() + windows[i].end);
    const std::vector<double> logprobs = model.score(batch, threads);
    const double* values = logprobs.data();
    for (size_t i = begin; i < end; ++i) {
      const Window& part = windows[i];
      for (int64_t token = part.first_scored; token < part.end; ++token) {
        const double logprob = values[token - part.begin - 1];
        if (std::isnan(logprob)) fail("token {} of the text: the model gives a log-probability that is not a number: it has diverged or is broken", token);
        result.nll -= logprob;
        ++result.tokens;
      }
      values += part.end - part.begin - 1;
    }
    done(result.tokens);
  }
  return result;
}

}  // namespace seqmill::infer
