#include <set>

#include "translators.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

/// Lines of different lengths, a repeated one and two blank ones.
std::vector<std::string> some_lines() {
  std::vector<std::string> lines = random_lines(9, 5);
  lines[4] = lines[1];
  lines[6] = "";
  lines.push_back("  ");
  return lines;
}

double logprob_by_hand(const Seq2Seq& model, const std::string& source, const std::string& target) {
  const data::Batch batch = batch_of({letters()->encode(source)}, {letters()->encode(target)});
  return model.target_logprobs(batch).sum().item<double>();
}

}  // namespace

TEST_CASE("batches and threads change no bit of a translation", "[translator]") {
  const auto model = letter_model();
  const std::vector<std::string> lines = some_lines();
  for (const search::SearchOptions& search : all_searches()) {
    const Translations expected = translator_of({model.get()}, search, 100000).translate(lines);
    REQUIRE(expected.size() == lines.size());
    for (const int64_t batch_tokens : {1, 64, 100000}) {
      for (const int threads : {1, 2, 3}) {
        CAPTURE(search.beam, search.sample, search.diverse_groups, batch_tokens, threads);
        CHECK(same(translator_of({model.get()}, search, batch_tokens, threads).translate(lines), expected));
      }
    }
    for (size_t i = 0; i < lines.size(); ++i) {
      const auto alone = translator_of({model.get()}, search).translate({lines[i]}, {}, static_cast<int64_t>(i));
      CHECK(same(alone.at(0), expected[i]));
    }
  }
}

TEST_CASE("samples follow from the seed and the number of the line", "[translator]") {
  const auto model = letter_model();
  const std::vector<std::string> lines(3, "abc def");
  const auto run = [&](uint64_t seed, int64_t first) {
    return translator_of({model.get()}, sampling(2), 2048, 1, seed).translate(lines, {}, first);
  };
  const Translations found = run(1, 0);
  CHECK(same(found, run(1, 0)));
  CHECK_FALSE(same(found[0], found[1]));
  CHECK_FALSE(same(found[0][0], found[0][1]));
  CHECK_FALSE(same(found, run(2, 0)));
  CHECK(same(run(1, 1)[0], found[1]));
  CHECK(same(run(1, 1)[1], found[2]));
}

TEST_CASE("blank lines have no translations, all others have n", "[translator]") {
  const auto model = letter_model();
  const std::vector<std::string> lines = some_lines();
  Translator translator = translator_of({model.get()}, beam_search(4, 3));
  const Translations found = translator.translate(lines);
  int64_t source_tokens = 0, target_tokens = 0, unfinished = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto tokens = static_cast<int64_t>(letters()->encode(lines[i]).size());
    CHECK(found[i].size() == (tokens == 0 ? 0u : 3u));
    source_tokens += tokens;
    if (found[i].empty()) continue;
    target_tokens += found[i][0].length;
    unfinished += found[i][0].finished ? 0 : 1;
  }
  CHECK(translator.counts().lines == static_cast<int64_t>(lines.size()));
  CHECK(translator.counts().empty == 2);
  CHECK(translator.counts().cut == 0);
  CHECK(translator.counts().source_tokens == source_tokens);
  CHECK(translator.counts().target_tokens == target_tokens);
  CHECK(translator.counts().unfinished == unfinished);
  translator.translate({"abc"});
  CHECK(translator.counts().lines == static_cast<int64_t>(lines.size()) + 1);  // all calls together
  CHECK(translator.translate({}).empty());
  CHECK(translator.translate({"", " "}) .size() == 2);
}

TEST_CASE("n-best lists are sorted and distinct, and begin with the single best", "[translator]") {
  const auto model = letter_model();
  const std::vector<std::string> lines = random_lines(6, 2);
  const Translations list = translator_of({model.get()}, beam_search(5, 5)).translate(lines);
  const Translations single = translator_of({model.get()}, beam_search(5, 1)).translate(lines);
  for (size_t i = 0; i < lines.size(); ++i) {
    REQUIRE(list[i].size() == 5);
    CHECK(same(list[i][0], single[i][0]));
    std::set<double> logprobs;
    for (size_t n = 0; n < 5; ++n) {
      if (n > 0) CHECK(list[i][n - 1].score >= list[i][n].score);
      logprobs.insert(list[i][n].logprob);
      const double length = static_cast<double>(list[i][n].length + (list[i][n].finished ? 1 : 0));
      CHECK(list[i][n].score == Approx(list[i][n].logprob / length));
    }
    CHECK(logprobs.size() == 5);
  }
}

TEST_CASE("a translation is what the search finds in the model's decoder", "[translator]") {
  const auto model = letter_model();
  const search::SearchOptions options = beam_search(4, 2);
  const std::string line = "abc def gh";
  const Tokens source = letters()->encode(line);
  const auto decoder = model->start(packed({source}));
  const auto expected =
      search::search(*decoder, {{static_cast<int64_t>(source.size()), {}, 0}}, kBos, kEos, options, 1).at(0);
  const auto found = translator_of({model.get()}, options).translate({line}).at(0);
  REQUIRE(found.size() == expected.size());
  for (size_t n = 0; n < found.size(); ++n) {
    CHECK(found[n].text == letters()->decode(expected[n].tokens));
    CHECK(found[n].logprob == expected[n].logprob);
    CHECK(found[n].length == static_cast<int64_t>(expected[n].tokens.size()));
    // And the teacher-forced model agrees.
    if (!expected[n].finished) continue;
    const double forced = model->target_logprobs(batch_of({source}, {expected[n].tokens})).sum().item<double>();
    CHECK(found[n].logprob == Approx(forced).margin(1e-3));
  }
}

TEST_CASE("the score of a translation is its log-probability", "[translator][score]") {
  const auto model = letter_model(), second = letter_model(2);
  // Without spaces of its own and after a forced letter, the text of a translation has one tokenisation only.
  const int32_t space = letters()->encode("a")[0];
  REQUIRE(letters()->piece(space) == "\xE2\x96\x81");
  for (const auto& changed : {model.get(), second.get()}) changed->output_layer().bias.detach()[space] = -20;
  const std::vector<std::string> lines = random_lines(8, 3), prefixes(lines.size(), "b");
  const std::vector<std::vector<const Seq2Seq*>> ensembles{{model.get()}, {model.get(), second.get()}};
  for (const auto& models : ensembles) {
    const Translations found = translator_of(models, beam_search(4, 4)).translate(lines, prefixes);
    std::vector<std::string> sources, targets;
    std::vector<double> logprobs;
    for (size_t i = 0; i < lines.size(); ++i) {
      for (const Translation& translation : found[i]) {
        if (!translation.finished) continue;
        sources.push_back(lines[i]);
        targets.push_back(translation.text);
        logprobs.push_back(translation.logprob);
        CHECK(static_cast<int64_t>(letters()->encode(translation.text).size()) == translation.length);
      }
    }
    REQUIRE(sources.size() > 10);
    const std::vector<Translation> scores = translator_of(models, beam_search(4, 4)).score(sources, targets);
    for (size_t i = 0; i < scores.size(); ++i) CHECK(scores[i].logprob == Approx(logprobs[i]).margin(1e-3));
  }
}

TEST_CASE("scores are those of the model, whatever the batches and threads", "[translator][score]") {
  const auto model = letter_model(), second = letter_model(2);
  const std::vector<std::string> lines = some_lines();
  std::vector<std::string> targets = random_lines(static_cast<int>(lines.size()), 9);
  targets[3] = "";
  Translator translator = translator_of({model.get()}, {}, 100000);
  const std::vector<Translation> expected = translator.score(lines, targets);
  REQUIRE(expected.size() == lines.size());
  int64_t target_tokens = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    CAPTURE(i);
    CHECK(expected[i].logprob == Approx(logprob_by_hand(*model, lines[i], targets[i])).margin(1e-4));
    CHECK(expected[i].text == targets[i]);
    const auto length = static_cast<int64_t>(letters()->encode(targets[i]).size());
    target_tokens += length;
    CHECK(expected[i].length == length);
    CHECK(expected[i].score == Approx(expected[i].logprob / static_cast<double>(length + 1)));
  }
  CHECK(translator.counts().lines == static_cast<int64_t>(lines.size()));
  CHECK(translator.counts().target_tokens == target_tokens);
  for (const int64_t batch_tokens : {1, 64, 100000}) {
    for (const int threads : {1, 2, 3}) {
      CAPTURE(batch_tokens, threads);
      CHECK(same(translator_of({model.get()}, {}, batch_tokens, threads).score(lines, targets), expected));
    }
  }
  // An ensemble's probability of a token is the mean of its members'.
  const data::Batch batch = batch_of({letters()->encode(lines[0])}, {letters()->encode(targets[0])});
  const at::Tensor p = model->target_logprobs(batch).to(at::kDouble).exp();
  const at::Tensor q = second->target_logprobs(batch).to(at::kDouble).exp();
  const double mean = ((p + q) / 2).log().sum().item<double>();
  CHECK(translator_of({model.get(), second.get()}, {}).score({lines[0]}, {targets[0]})[0].logprob == Approx(mean).margin(1e-4));
}

TEST_CASE("an ensemble of a model with itself is the model", "[translator]") {
  const auto model = letter_model(), other = letter_model(2);
  const std::vector<std::string> lines = some_lines();
  for (const search::SearchOptions& search : all_searches()) {
    const Translations single = translator_of({model.get()}, search).translate(lines);
    const Translations twice = translator_of({model.get(), model.get()}, search).translate(lines);
    for (size_t i = 0; i < lines.size(); ++i) {
      REQUIRE(single[i].size() == twice[i].size());
      for (size_t n = 0; n < single[i].size(); ++n) {
        CHECK(single[i][n].text == twice[i][n].text);
        CHECK(single[i][n].logprob == Approx(twice[i][n].logprob).margin(1e-4));
      }
    }
    CHECK_FALSE(same(single, translator_of({model.get(), other.get()}, search).translate(lines)));
  }
}

TEST_CASE("a forced beginning is kept, line by line", "[translator]") {
  const auto model = letter_model();
  const std::vector<std::string> lines = random_lines(5, 4);
  const std::vector<std::string> prefixes{"abc", "h", "", "de fg", "bbbbbbbbbbbbbbbbbbbb"};
  for (const search::SearchOptions& search : all_searches()) {
    const Translations found = translator_of({model.get()}, search).translate(lines, prefixes);
    const Translations free = translator_of({model.get()}, search).translate(lines);
    for (size_t i = 0; i < lines.size(); ++i) {
      REQUIRE_FALSE(found[i].empty());
      for (const Translation& translation : found[i]) CHECK(translation.text.rfind(prefixes[i], 0) == 0);
    }
    CHECK(same(found[2], free[2]));
    CHECK(free[4][0].text.rfind(prefixes[4], 0) != 0);
  }
}

TEST_CASE("an over-long source is cut to its first tokens and counted", "[translator]") {
  const auto model = letter_model();
  TranslatorOptions options;
  options.max_source = 6;
  Translator translator({model.get()}, shared_letters(), beam_search(3, 1), options, 1, 1);
  const Translations found = translator.translate({"abcdefgh", "abcde", "abcdeh"});  // a space before, so 6 are 5 letters
  CHECK(translator.counts().cut == 2);
  CHECK(translator.counts().source_tokens == 18);
  CHECK(same(found[0], found[1]));
  CHECK(same(found[2], found[1]));
  CHECK_FALSE(same(found[0], translator_of({model.get()}, beam_search(3, 1)).translate({"abcdefgh"})[0]));
}

TEST_CASE("learned positions limit both sides", "[translator]") {
  const auto model = letter_model(1, {{"positions", "learned"}, {"max-positions", "7"}});
  for (search::SearchOptions search : all_searches()) {
    search.min_length = 9;
    Translator translator = translator_of({model.get()}, search);
    const Translations found = translator.translate({"abcdefgh", "abcde"});
    CHECK(translator.counts().cut == 1);
    for (const Translation& translation : found[0]) CHECK(translation.length == 6);
    if (!search.sample) CHECK(same(found[0], found[1]));
  }
}

TEST_CASE("an error of a worker reaches the caller", "[translator]") {
  const auto model = letter_model(1, {{"tie", "none"}});
  for (const nn::Parameter& parameter : model->parameters().all()) {
    if (parameter.name == "encoder.embedding.weight") parameter.value.detach()[letters()->encode("h").back()].fill_(NAN);
  }
  for (const int threads : {1, 3}) {
    Translator translator = translator_of({model.get()}, beam_search(2, 1), 1, threads);
    const Failure failure = failure_of([&] { translator.translate({"ab", "ac", "ah", "ab"}, {}, 10); });
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says("line 13: the model gave NaN"));
  }
}
