#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <map>
#include <random>

#include "metric/chrf.h"
#include "metric/ngram.h"

using namespace seqmill;
using namespace seqmill::metric;
using Catch::Approx;

// "abc" against "cab": 1-grams 3 of 3, 2-grams 1 of 2 ("ab"), 3-grams 0 of 1; orders 4 to 6 are absent on both sides. So
// precision and recall are (1 + 1/2 + 0) / 3.
TEST_CASE("chrF of one word computed by hand", "[chrf]") {
  const auto metric = make_chrf({});
  const auto sums = count_lines(*metric, {"a b c"}, {{"c a b"}}).sum();
  CHECK(std::vector<double>(sums.begin(), sums.begin() + 9) == std::vector<double>{3, 3, 3, 2, 2, 1, 1, 1, 0});
  CHECK(metric->score(sums.data(), 1) == Approx(50));
}

TEST_CASE("chrF weighs recall by beta squared", "[chrf]") {
  ChrfOptions options;
  options.char_order = 1;
  options.beta = 3;
  // precision 1, recall 1/2: (1 + 9) * 1/2 / (9 + 1/2)
  CHECK(corpus_score(*make_chrf(options), {"ab"}, {{"abcd"}}) == Approx(100 * 5 / 9.5));
}

TEST_CASE("chrF takes the better reference and does not count hypothesis n-grams the reference cannot have", "[chrf]") {
  const auto metric = make_chrf({});
  const auto sums = count_lines(*metric, {"abcd"}, {{"xy"}, {"ab"}}).sum();
  CHECK(std::vector<double>(sums.begin(), sums.begin() + 9) == std::vector<double>{4, 2, 2, 3, 1, 1, 0, 0, 0});
  CHECK(corpus_score(*metric, {"abcd"}, {{"xy"}, {"abcd"}}) == Approx(100));
}

TEST_CASE("chrF of empty lines is 0, of equal lines 100", "[chrf]") {
  const auto metric = make_chrf({});
  CHECK(corpus_score(*metric, {""}, {{""}}) == 0);
  CHECK(corpus_score(*metric, {"abc"}, {{""}}) == 0);
  CHECK(corpus_score(*metric, {"ein Wort"}, {{"ein Wort"}}) == Approx(100));
}

TEST_CASE("chrF names and signatures", "[chrf]") {
  ChrfOptions options;
  CHECK(make_chrf(options)->name() == "chrF2");
  options.word_order = 2;
  options.eps_smoothing = true;
  CHECK(make_chrf(options)->name() == "chrF2++");
  CHECK(make_chrf(options)->signature(1) == "nrefs:1|case:mixed|eff:no|nc:6|nw:2|space:no|version:2.6.0");
}

// Against counting with maps of vectors.
TEST_CASE("The n-gram trie counts as maps do", "[ngram]") {
  std::mt19937 random(1);
  NgramMatcher matcher(4);
  for (int round = 0; round < 200; ++round) {
    const auto draw = [&](size_t size) {
      std::vector<uint32_t> words(size);
      for (auto& word : words) word = random() % 4;
      return words;
    };
    using Counts = std::map<std::vector<uint32_t>, int64_t>;
    const auto count = [](const std::vector<uint32_t>& words) {
      Counts counts;
      for (size_t n = 1; n <= 4; ++n) {
        for (size_t i = 0; i + n <= words.size(); ++i) ++counts[{words.begin() + i, words.begin() + i + n}];
      }
      return counts;
    };
    const auto hypothesis = draw(random() % 15), first = draw(random() % 15), second = draw(random() % 15);
    matcher.begin(first.size() + second.size());
    matcher.add_reference(first.data(), first.size());
    matcher.add_reference(second.data(), second.size());
    std::vector<int64_t> found(4), expected(4);
    matcher.match(hypothesis.data(), hypothesis.size(), found.data());
    Counts in_first = count(first), in_second = count(second);
    for (const auto& [ngram, times] : count(hypothesis)) {
      expected[ngram.size() - 1] += std::min(times, std::max(in_first[ngram], in_second[ngram]));
    }
    REQUIRE(found == expected);
  }
}
