#include "infer/generator.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <numeric>

#include "support/fake_language_model.h"
#include "support/files.h"

using namespace seqmill;
using seqmill::test::refused;
using namespace seqmill::infer;
using seqmill::test::FakeLanguageModel;
using seqmill::test::FakeTokenizer;

namespace {

struct Call {
  GeneratorOptions options;
  std::vector<Tokens> prompts;
  GenerationPlan plan;
  std::vector<int32_t> ends{1};
  uint64_t seed = 5;
  bool continues = true;
  std::optional<double> temperature;  // of the requests
  int64_t hesitates = 0;  // how often the source says "later" before each request, when it may
};

std::vector<std::vector<Generated>> generate(const LanguageModel& model, const text::Tokenizer& tokenizer, const Call& call) {
  const test::FakeTemplate chat(tokenizer, call.ends, call.continues);
  Generator generator(model, tokenizer, chat, call.options, call.seed);
  std::vector<std::vector<Generated>> results(call.prompts.size());
  size_t next = 0;
  int64_t hesitation = 0;
  const auto source = [&](GenerationRequest& request, bool may_wait) {
    if (next == call.prompts.size()) return Next::kEnd;
    if (!may_wait && hesitation++ < call.hesitates) return Next::kLater;
    hesitation = 0;
    request = {};
    request.number = static_cast<int64_t>(next);
    request.id = std::to_string(next);
    request.prompt = call.prompts[next++];
    request.samples = call.options.samples;
    request.temperature = call.temperature;
    request.min_new = call.options.min_new_tokens;
    request.max_new = call.options.max_new_tokens;
    return Next::kRequest;
  };
  generator.run(call.plan, source, [&](const GenerationRequest& request, std::vector<Generated> texts) {
    auto& place = results.at(static_cast<size_t>(request.number));
    CHECK(place.empty());
    place = std::move(texts);
  });
  CHECK(generator.counts().prompts == static_cast<int64_t>(call.prompts.size()));
  return results;
}

std::vector<Tokens> some_prompts(int64_t count, int64_t vocabulary) {
  Rng rng(11, "prompts");
  std::vector<Tokens> prompts;
  for (int64_t i = 0; i < count; ++i) {
    prompts.push_back({0});
    for (uint64_t length = rng.below(6); length > 0; --length) prompts.back().push_back(2 + static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocabulary - 2))));
  }
  return prompts;
}

bool same(const std::vector<std::vector<Generated>>& a, const std::vector<std::vector<Generated>>& b) {
  const auto equal = [](const Generated& x, const Generated& y) {
    return x.tokens == y.tokens && x.text == y.text && x.logprob == y.logprob && x.finish == y.finish && x.score == y.score;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal); });
}

double rescored(const LanguageModel& model, const Tokens& prompt, const Generated& generated, int32_t end) {
  Tokens all = prompt;
  all.insert(all.end(), generated.tokens.begin(), generated.tokens.end());
  if (generated.finish == Finish::kEnd) all.push_back(end);
  const std::vector<double> scores = model.score({all}, 1);
  return std::accumulate(scores.begin() + static_cast<int64_t>(prompt.size()) - 1, scores.end(), 0.0);
}

/// A model that says these tokens, whatever the prompt of one token is.
FakeLanguageModel reciting(const Tokens& text, int64_t vocabulary) {
  return FakeLanguageModel(
      [=](const Tokens& history) {
        std::vector<float> logits(static_cast<size_t>(vocabulary), -20);
        const size_t place = history.size() - 1;
        logits[static_cast<size_t>(place < text.size() ? text[place] : 1)] = 0;
        return test::normalised(logits);
      },
      vocabulary);
}

Generated recite(const std::string& text, const std::vector<std::string>& stops, bool continues = true) {
  const FakeTokenizer tokenizer = FakeTokenizer::of_bytes();
  const FakeLanguageModel model = reciting(tokenizer.encode(text), tokenizer.size());
  Call call;
  call.prompts = {{0}};
  call.options.sampler.temperature = 0;
  call.options.stop = stops;
  call.continues = continues;
  return generate(model, tokenizer, call)[0][0];
}

}  // namespace

TEST_CASE("texts depend neither on the batch nor on the workers nor on when requests come") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d ", " e", "f"});
  const FakeLanguageModel model(test::hashed_distribution(8), 8);
  Call call;
  call.prompts = some_prompts(17, 8);
  call.options.samples = 3;
  call.options.max_new_tokens = 12;
  const auto expected = generate(model, tokenizer, call);  // one row at a time
  for (const auto& sentence : expected) CHECK(sentence.size() == 3);
  CHECK(expected[0][0].tokens != expected[0][1].tokens);
  for (const int64_t workers : {1, 2, 5}) {
    for (const int64_t rows : {1, 2, 7, 64}) {
      for (const int64_t hesitates : {0, 3}) {
        call.plan = {workers, 1, rows};
        call.hesitates = hesitates;
        CAPTURE(workers, rows, hesitates);
        CHECK(same(generate(model, tokenizer, call), expected));
        CHECK(model.alive == 0);
      }
    }
  }
  // Nor on the other requests: the first five alone.
  call.prompts.resize(5);
  CHECK(same(generate(model, tokenizer, call), {expected.begin(), expected.begin() + 5}));
}

TEST_CASE("a prompt is encoded once for all its samples, and a finished row's place is taken at once") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c"});
  const FakeLanguageModel model(test::hashed_distribution(5), 5);
  Call call;
  call.prompts = some_prompts(9, 5);
  call.options.samples = 8;
  call.options.max_new_tokens = 20;
  call.plan = {1, 1, 5};
  const auto results = generate(model, tokenizer, call);
  int64_t prompt_tokens = 0, advanced = 0;
  for (const Tokens& prompt : call.prompts) prompt_tokens += static_cast<int64_t>(prompt.size());
  for (const auto& sentence : results) {
    for (const Generated& generated : sentence) {
      advanced += static_cast<int64_t>(generated.tokens.size()) - (generated.finish == Finish::kLength ? 1 : 0);
    }
  }
  CHECK(model.encoded == prompt_tokens);
  CHECK(model.rows == advanced);
  CHECK(model.most_rows == 5);
  // All but the last steps, when the queue is empty, have all their rows.
  CHECK(model.steps * 5 - model.rows < 20 * 5);
}

TEST_CASE("log-probabilities are the model's own, whatever the tokens were drawn from") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d", "e", "f"});
  const FakeLanguageModel model(test::hashed_distribution(8), 8);
  Call call;
  call.prompts = some_prompts(12, 8);
  call.options.samples = 2;
  call.options.max_new_tokens = 10;
  call.options.sampler.temperature = 0.7;
  call.options.sampler.top_p = 0.9;
  call.options.sampler.repetition_penalty = 1.3;
  call.plan = {2, 1, 3};
  const auto results = generate(model, tokenizer, call);
  std::map<Finish, int> finishes;
  for (size_t i = 0; i < results.size(); ++i) {
    for (const Generated& generated : results[i]) {
      ++finishes[generated.finish];
      CHECK(generated.logprob == Approx(rescored(model, call.prompts[i], generated, 1)).epsilon(1e-9));
      const auto count = static_cast<double>(generated.tokens.size()) + (generated.finish == Finish::kEnd);
      CHECK(generated.mean() == Approx(generated.logprob / count));
      CHECK(generated.tokens.size() <= 10);
    }
  }
  CHECK(finishes[Finish::kEnd] > 0);
  CHECK(finishes[Finish::kLength] > 0);
}

TEST_CASE("samples say what they were drawn with and what ended them, and requests at what temperature") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d", "e", "f"});
  const FakeLanguageModel model(test::hashed_distribution(8), 8);
  Call call;
  call.prompts = some_prompts(12, 8);
  call.ends = {1, 3};
  call.options.samples = 3;
  call.options.max_new_tokens = 10;
  const auto plain = generate(model, tokenizer, call);
  for (const std::vector<Generated>& results : plain) {
    for (const Generated& generated : results) {
      CHECK(generated.drawn_logprob == Approx(generated.logprob).epsilon(1e-5));
      CHECK((generated.end == 1 || generated.end == 3) == (generated.finish == Finish::kEnd));
    }
  }
  call.options.sampler.temperature = 0.5;
  const auto cold = generate(model, tokenizer, call);
  CHECK_FALSE(same(cold, plain));
  call.options.sampler.temperature = 1;
  call.temperature = 0.5;
  CHECK(same(generate(model, tokenizer, call), cold));
  call.temperature = 0;
  const auto greedy = generate(model, tokenizer, call);
  for (const std::vector<Generated>& results : greedy) CHECK((results[0].tokens == results[2].tokens && results[0].drawn_logprob == 0));
}

TEST_CASE("sample 0 is that of a single sample; greedy needs no seed") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d", "e", "f"});
  const FakeLanguageModel model(test::hashed_distribution(8), 8);
  Call call;
  call.prompts = some_prompts(6, 8);
  call.options.max_new_tokens = 9;
  const auto single = generate(model, tokenizer, call);
  call.options.samples = 4;
  const auto several = generate(model, tokenizer, call);
  for (size_t i = 0; i < single.size(); ++i) CHECK(single[i][0].tokens == several[i][0].tokens);
  call.options.samples = 1;
  call.seed = 6;
  CHECK_FALSE(same(generate(model, tokenizer, call), single));
  call.options.sampler.temperature = 0;
  const auto greedy = generate(model, tokenizer, call);
  call.seed = 7;
  CHECK(same(generate(model, tokenizer, call), greedy));
}

TEST_CASE("end tokens: any of several ends, none before the least number of tokens") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d"});
  const FakeLanguageModel model(test::hashed_distribution(6), 6);
  Call call;
  call.prompts = some_prompts(30, 6);
  call.ends = {1, 3};
  call.options.max_new_tokens = 8;
  call.options.min_new_tokens = 4;
  for (const auto& sentence : generate(model, tokenizer, call)) {
    CHECK(sentence[0].tokens.size() >= 4);
    CHECK(std::count(sentence[0].tokens.begin(), sentence[0].tokens.end(), 3) == 0);
  }
}

TEST_CASE("the repetition penalty keeps tokens of prompt and text away") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c", "d", "e", "f"});
  const FakeLanguageModel model(test::hashed_distribution(8), 8);
  Call call;
  call.prompts = {{0, 2, 3}};
  call.ends = {1};
  call.options.min_new_tokens = call.options.max_new_tokens = 4;
  call.options.sampler.temperature = 0;
  call.options.sampler.repetition_penalty = 1000;
  Tokens tokens = generate(model, tokenizer, call)[0][0].tokens;
  std::sort(tokens.begin(), tokens.end());
  CHECK(tokens == Tokens{4, 5, 6, 7});
}

TEST_CASE("stop strings end a text before them, also across tokens and inside characters") {
  CHECK(recite("one. two. three", {}).text == "one. two. three");
  const Generated stopped = recite("one. two.\n\nthree", {"\n\n"});
  CHECK(stopped.text == "one. two.");
  CHECK(stopped.finish == Finish::kStop);
  CHECK(stopped.tokens.size() == 11);  // the stop string's tokens too
  CHECK(recite("aab aabc", {"abc", "zz"}).text == "aab a");
  CHECK(recite("ababac", {"abac"}).text == "ab");
  CHECK(recite("x\xE2\x82\xAC y", {"\xE2\x82\xAC"}).text == "x");
  CHECK(recite("x\xE2\x82\xAC y", {"\x82"}).text == "x\xEF\xBF\xBD");
  CHECK(recite("stop", {"stop"}).text.empty());
  CHECK(recite("abcd", {"bc", "c", "abcde"}).text == "a");
}

TEST_CASE("of two stop strings that one token completes, the first in the text counts") {
  const FakeTokenizer tokenizer({"a", "b", "cdef", "g"});
  const FakeLanguageModel model = reciting(tokenizer.encode("abcdefg"), tokenizer.size());
  Call call;
  call.prompts = {{0}};
  call.options.sampler.temperature = 0;
  call.options.stop = {"de", "bcd"};
  const Generated generated = generate(model, tokenizer, call)[0][0];
  CHECK(generated.text == "a");
  CHECK(generated.tokens.size() == 3);
  CHECK(generated.logprob == Approx(rescored(model, {0}, generated, 1)));
}

TEST_CASE("a text that is cut inside a character is valid UTF-8; its leading space is kept where it goes on a prompt") {
  const FakeTokenizer tokenizer = FakeTokenizer::of_bytes();
  const FakeLanguageModel model = reciting(tokenizer.encode(" \xE2\x82\xAC"), tokenizer.size());
  Call call;
  call.prompts = {{0}};
  call.options.sampler.temperature = 0;
  call.options.max_new_tokens = 3;
  CHECK(generate(model, tokenizer, call)[0][0].text == " \xEF\xBF\xBD");
  call.continues = false;
  CHECK(generate(model, tokenizer, call)[0][0].text == "\xEF\xBF\xBD");
  call.options.max_new_tokens = 4;
  CHECK(generate(model, tokenizer, call)[0][0].text == "\xE2\x82\xAC");
}

TEST_CASE("a model may have more rows than its tokeniser has tokens") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b"});
  const FakeLanguageModel model(test::hashed_distribution(40), 40);
  Call call;
  call.prompts = some_prompts(10, 4);
  call.options.max_new_tokens = 6;
  for (const auto& sentence : generate(model, tokenizer, call)) {
    for (const int32_t token : sentence[0].tokens) CHECK(token < 4);
  }
  call.options.beam = 3;
  for (const auto& sentence : generate(model, tokenizer, call)) {
    for (const int32_t token : sentence[0].tokens) CHECK(token < 4);
  }
}

TEST_CASE("a model that gives NaN is an error that names the record, from any worker") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b", "c"});
  const FakeLanguageModel model(
      [](const Tokens& history) {
        std::vector<float> values = test::hashed_distribution(5)(history);
        if (history[0] == 4) values[2] = std::nanf("");
        return values;
      },
      5);
  Call call;
  call.prompts.assign(20, {0});
  call.prompts[13] = {4};
  for (const int64_t workers : {1, 3}) {
    call.plan = {workers, 1, 4};
    CHECK_THROWS_WITH(generate(model, tokenizer, call), Catch::Contains("record 13") && Catch::Contains("NaN"));
    CHECK(model.alive == 0);
  }
}

TEST_CASE("a beam wide enough finds the most probable text of all", "[beam]") {
  constexpr int64_t kVocabulary = 4, kMost = 3;
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b"});
  const FakeLanguageModel model(test::hashed_distribution(kVocabulary), kVocabulary);
  Call call;
  call.prompts = some_prompts(8, kVocabulary);
  call.options.beam = 27;
  call.options.samples = 3;
  call.options.max_new_tokens = kMost;
  for (const char* penalty : {"none", "average"}) {
    call.options.length_penalty = penalty;
    for (const GenerationPlan& plan : {GenerationPlan{1, 1, 1}, GenerationPlan{2, 1, 100}}) {
      call.plan = plan;
      const auto found = generate(model, tokenizer, call);
      CHECK(model.alive == 0);
      for (size_t i = 0; i < found.size(); ++i) {
        // All texts of up to three tokens that end; token 0 is a token as any other.
        std::vector<double> scores;
        std::vector<Tokens> open = {{}};
        for (int64_t length = 0; length <= kMost; ++length) {
          std::vector<Tokens> longer;
          for (const Tokens& tokens : open) {
            Generated ended;
            ended.tokens = tokens;
            ended.finish = Finish::kEnd;
            ended.logprob = rescored(model, call.prompts[i], ended, 1);
            scores.push_back(std::string(penalty) == "none" ? ended.logprob : ended.mean());
            for (const int32_t token : {0, 2, 3}) {
              longer.push_back(tokens);
              longer.back().push_back(token);
            }
          }
          open = std::move(longer);
        }
        std::sort(scores.rbegin(), scores.rend());
        REQUIRE(found[i].size() == 3);
        for (size_t rank = 0; rank < 3; ++rank) {
          CHECK(found[i][rank].score == Approx(scores[rank]));
          CHECK(found[i][rank].logprob == Approx(rescored(model, call.prompts[i], found[i][rank], 1)));
        }
      }
    }
  }
}

TEST_CASE("a beam takes the most probable of several end tokens", "[beam]") {
  const FakeTokenizer tokenizer = FakeTokenizer({"a", "b"});
  const FakeLanguageModel model([](const Tokens&) { return std::vector<float>{-9, std::log(0.2f), std::log(0.7f), std::log(0.1f)}; }, 4);
  Call call;
  call.prompts = {{0}};
  call.ends = {1, 2};
  call.options.beam = 2;
  const auto found = generate(model, tokenizer, call)[0];
  CHECK(found[0].tokens.empty());
  CHECK(found[0].finish == Finish::kEnd);
  CHECK(found[0].logprob == Approx(std::log(0.7)));
}

TEST_CASE("threads are divided among workers that have something to do") {
  GeneratorOptions options;
  options.batch = 32;
  const auto is = [](const GenerationPlan& plan, int64_t workers, int threads, int64_t rows) {
    return plan.workers == workers && plan.threads == threads && plan.rows == rows;
  };
  CHECK(is(plan_generation(1, options, 8), 1, 8, 1));
  CHECK(is(plan_generation(0, options, 8), 1, 8, 1));
  CHECK(is(plan_generation(3, options, 8), 3, 2, 1));
  CHECK(is(plan_generation(100, options, 8), 8, 1, 13));
  CHECK(is(plan_generation(-1, options, 8), 8, 1, 32));
  options.samples = 10;
  CHECK(is(plan_generation(2, options, 2), 2, 1, 10));
  CHECK(is(plan_generation(20, options, 2), 2, 1, 32));
}

TEST_CASE("options of generation that mean nothing are refused") {
  CHECK_FALSE(refused<GeneratorOptions>([](GeneratorOptions&) {}));
  CHECK_FALSE(refused<GeneratorOptions>([](GeneratorOptions& options) { options.beam = options.samples = 4; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.beam = 4, options.samples = 5; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.beam = 4, options.sampler.top_k = 3; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.beam = 4, options.stop = {"x"}; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.stop = {""}; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.samples = 2, options.sampler.temperature = 0; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.min_new_tokens = 5, options.max_new_tokens = 4; }));
  CHECK(refused<GeneratorOptions>([](GeneratorOptions& options) { options.alpha = 2; }));
}
