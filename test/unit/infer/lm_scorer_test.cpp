#include "infer/lm_scorer.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "support/fake_language_model.h"

using namespace seqmill;
using namespace seqmill::infer;
using seqmill::test::FakeLanguageModel;
using seqmill::test::FakeTokenizer;
using seqmill::test::FakeTemplate;

namespace {

Tokens some_text(int64_t count) {
  Rng rng(3, "text");
  Tokens tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(rng.below(6)));
  return tokens;
}

Perplexity score(const LanguageModel& model, const Tokens& text, int64_t window, int64_t stride, int64_t batch_tokens = 64, int threads = 1) {
  return score_text(model, text, window, stride, batch_tokens, threads, [](int64_t) {});
}

}  // namespace

TEST_CASE("an answer is scored behind its prompt, with what ends it or without") {
  const FakeTokenizer tokenizer({"a", "b", "c", "d"});
  const FakeTemplate chat(tokenizer);
  const ScoredSequence with_end = sequence_of(chat, {{"user", "ab"}}, "cd", true);
  CHECK(with_end.tokens == Tokens{0, 2, 3, 4, 5, 1});
  CHECK(with_end.first == 3);
  CHECK(sequence_of(chat, {{"user", "ab"}}, "cd", false).tokens == Tokens{0, 2, 3, 4, 5});
  CHECK(sequence_of(chat, {{"user", "ab"}}, "", true).tokens == Tokens{0, 2, 3, 1});
  CHECK(sequence_of(chat, {{"user", "ab"}}, "", false).tokens == Tokens{0, 2, 3});
  const ScoredSequence later = sequence_of(chat, {{"user", "a"}, {"assistant", "b"}, {"user", "c"}}, "d", true);
  CHECK(later.first == 5);
  CHECK(later.tokens == Tokens{0, 2, 3, 1, 4, 5, 1});
  const FakeTokenizer no_bos({"a"}, false);
  CHECK_THROWS_WITH(sequence_of(FakeTemplate(no_bos), {{"user", ""}}, "a", true), Catch::Contains("no token before the response"));
}

TEST_CASE("scores of answers are the model's, whatever is computed together") {
  const FakeLanguageModel model(test::hashed_distribution(6), 6);
  const std::vector<ScoredSequence> sequences = {{{0, 2, 3, 4, 1}, 3}, {{0, 5, 5}, 1}, {{0, 4, 3}, 3}, {{0, 2, 2, 2, 2, 2, 1}, 2}};
  for (const int64_t batch_tokens : {1, 8, 1000}) {
    const auto scores = score_answers(model, sequences, batch_tokens, 1);
    CHECK(score_answers(model, sequences, batch_tokens, 3) == scores);
    REQUIRE(scores.size() == sequences.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      const std::vector<double> all = model.score({sequences[i].tokens}, 1);
      CHECK(scores[i] == std::vector<double>(all.begin() + sequences[i].first - 1, all.end()));
    }
  }
}

TEST_CASE("a text in one window is scored as one sequence") {
  const FakeLanguageModel model(test::hashed_distribution(6), 6);
  const Tokens text = some_text(40);
  const std::vector<double> all = model.score({text}, 1);
  const Perplexity whole = score(model, text, 39, 39);
  CHECK(whole.tokens == 39);
  CHECK(whole.nll == Approx(-std::accumulate(all.begin(), all.end(), 0.0)));
}

TEST_CASE("a text in windows: each token once, by what its window has of it") {
  const FakeLanguageModel model(test::hashed_distribution(6), 6, 8);
  const Tokens text = some_text(50);
  for (const int64_t stride : {1, 3, 8}) {
    // By the definition: token t is in the first window that has scored all before it.
    double nll = 0;
    for (int64_t t = 1; t < 50; ++t) {
      const int64_t begin = t <= 8 ? 0 : (t - 8 + stride - 1) / stride * stride;
      const Tokens context(text.begin() + begin, text.begin() + t);
      REQUIRE(context.size() <= 8);
      nll -= test::hashed_distribution(6)(context)[static_cast<size_t>(text[static_cast<size_t>(t)])];
    }
    for (const int64_t batch_tokens : {1, 20, 1000}) {
      const Perplexity result = score(model, text, 8, stride, batch_tokens);
      CHECK(result.tokens == 49);
      CHECK(result.nll == Approx(nll));
      const Perplexity by_three = score(model, text, 8, stride, batch_tokens, 3);
      CHECK(by_three.nll == result.nll);
      CHECK(by_three.tokens == result.tokens);
    }
  }
}

TEST_CASE("perplexities per token, word and byte") {
  Perplexity result;
  result.tokens = 4;
  result.words = 2;
  result.bytes = 8;
  result.nll = 4 * std::log(2.0);
  CHECK(result.per_token() == Approx(2));
  CHECK(result.per_word() == Approx(4));
  CHECK(result.per_byte() == Approx(std::sqrt(2.0)));
  CHECK(result.bits_per_byte() == Approx(0.5));
}

TEST_CASE("NaN in a text is an error that names the token") {
  const FakeLanguageModel model(
      [](const Tokens& history) {
        std::vector<float> values = test::hashed_distribution(6)(history);
        if (history.size() == 3) values.assign(6, std::nanf(""));
        return values;
      },
      6);
  CHECK_THROWS_WITH(score(model, some_text(20), 19, 19), Catch::Contains("token 3 of the text"));
  CHECK_THROWS_WITH(score(model, some_text(90), 10, 10, 20, 3), Catch::Contains("not a number"));
}
