#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <random>

#include "metric/lcs.h"
#include "metric/porter.h"
#include "metric/rouge.h"

using namespace seqmill;
using namespace seqmill::metric;
using Catch::Approx;

namespace {

struct Prf {
  double precision, recall, f;
};

Prf rouge(const std::string& type, const std::vector<std::string>& hypotheses,
          const std::vector<std::vector<std::string>>& references, const RougeOptions& options = {}) {
  const auto metric = make_rouge(type, options);
  const auto sums = count_lines(*metric, hypotheses, references).sum();
  Prf result;
  metric->values(sums.data(), static_cast<double>(hypotheses.size()), &result.precision);
  return result;
}

}  // namespace

TEST_CASE("ROUGE of three lines computed by hand", "[rouge]") {
  const std::vector<std::string> hypotheses = {"the cat sat on the mat", "a b c", "guten Tag"};
  const std::vector<std::vector<std::string>> references = {{"the cat is on the mat", "c a b", "Guten Tag!"}};
  CHECK(rouge("rouge1", hypotheses, references).f == Approx((5.0 / 6 + 1 + 1) / 3));
  CHECK(rouge("rouge2", hypotheses, references).f == Approx((3.0 / 5 + 0.5 + 1) / 3));
  CHECK(rouge("rougeL", hypotheses, references).f == Approx((5.0 / 6 + 2.0 / 3 + 1) / 3));
}

TEST_CASE("ROUGE precision and recall are not mixed up", "[rouge]") {
  const Prf result = rouge("rouge1", {"a b c d"}, {{"a b"}});
  CHECK(result.precision == Approx(0.5));
  CHECK(result.recall == Approx(1));
  CHECK(result.f == Approx(2.0 / 3));
}

// Lin (2004), section 3.2: reference sentence w1 w2 w3 w4 w5, candidate sentences w1 w2 w6 w7 w8 and w1 w3 w8 w9 w5. The union of
// the two common subsequences is w1 w2 w3 w5: recall 4/5.
TEST_CASE("ROUGE-Lsum takes the union over sentences", "[rouge]") {
  const Prf result = rouge("rougeLsum", {"w1 w2 w6 w7 w8<n>w1 w3 w8 w9 w5"}, {{"w1 w2 w3 w4 w5"}});
  CHECK(result.recall == Approx(4.0 / 5));
  CHECK(result.precision == Approx(4.0 / 10));
  // A word is hit once per occurrence on either side.
  CHECK(rouge("rougeLsum", {"a"}, {{"a<n>a"}}).recall == Approx(0.5));
}

TEST_CASE("ROUGE takes the reference with the best F and scores empty lines 0", "[rouge]") {
  CHECK(rouge("rouge1", {"a b"}, {{"a b c d e f"}, {"a b"}}).f == Approx(1));
  CHECK(rouge("rougeL", {""}, {{"a"}}).f == 0);
  CHECK(rouge("rougeLsum", {"a"}, {{""}}).f == 0);
  CHECK(rouge("rouge2", {"a"}, {{"a"}}).f == 0);
}

TEST_CASE("Stemming joins forms of a word longer than three letters", "[rouge]") {
  RougeOptions options;
  options.stem = true;
  CHECK(rouge("rouge1", {"walking dogs"}, {{"walked dog"}}, options).f == Approx(1));
  CHECK(rouge("rouge1", {"gas"}, {{"ga"}}, options).f == 0);
}

TEST_CASE("Porter stems", "[porter]") {
  // From the paper, by step.
  for (const auto& [word, stem] : std::vector<std::pair<std::string, std::string>>{
           {"caresses", "caress"}, {"ponies", "poni"}, {"cats", "cat"}, {"agreed", "agre"}, {"plastered", "plaster"},
           {"motoring", "motor"}, {"sing", "sing"}, {"conflated", "conflat"}, {"hopping", "hop"}, {"falling", "fall"},
           {"filing", "file"}, {"happy", "happi"}, {"relational", "relat"}, {"rational", "ration"}, {"digitizer", "digit"},
           {"operator", "oper"}, {"triplicate", "triplic"}, {"goodness", "good"}, {"revival", "reviv"}, {"adoption", "adopt"},
           {"probate", "probat"}, {"cease", "ceas"}, {"controll", "control"}, {"roll", "roll"}}) {
    CHECK(porter_stem(word) == stem);
  }
  // Where NLTK departs from it.
  for (const auto& [word, stem] : std::vector<std::pair<std::string, std::string>>{
           {"dies", "die"}, {"died", "die"}, {"flies", "fli"}, {"spied", "spi"}, {"skies", "sky"}, {"enjoy", "enjoy"},
           {"news", "news"}, {"geology", "geolog"}, {"fully", "fulli"}, {"is", "is"}}) {
    CHECK(porter_stem(word) == stem);
  }
}

TEST_CASE("The bit-parallel common subsequence is as long as the marked one", "[lcs]") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const auto draw = [&](size_t size) {
      std::vector<uint32_t> words(size);
      for (auto& word : words) word = random() % 5;
      return words;
    };
    const auto a = draw(random() % 150), b = draw(random() % 150);
    std::vector<bool> marks(a.size());
    mark_lcs(a, b, marks);
    REQUIRE(lcs_length(a, b) == static_cast<size_t>(std::count(marks.begin(), marks.end(), true)));
    REQUIRE(lcs_length(a, b) == lcs_length(b, a));
    REQUIRE(lcs_length(a, a) == a.size());
  }
}
