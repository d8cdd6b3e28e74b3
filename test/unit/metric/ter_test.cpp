#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "metric/ter.h"
#include "metric/ter_edits.h"

using namespace seqmill;
using namespace seqmill::metric;
using Catch::Approx;

namespace {

using Words = std::vector<uint32_t>;

int64_t plain_distance(const Words& a, const Words& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row.back();
}

Words draw(std::mt19937& random, size_t size, uint32_t words) {
  Words sequence(size);
  for (auto& word : sequence) word = random() % words;
  return sequence;
}

}  // namespace

TEST_CASE("TER of three lines computed by hand", "[ter]") {
  const auto metric = make_ter({});
  const std::vector<std::string> hypotheses = {"the cat sat on the mat", "a b c", "guten Tag"};
  const std::vector<std::string> reference = {"the cat is on the mat", "c a b", "Guten Tag!"};
  // A substitution; a shift; a substitution ("tag" for "tag!").
  const LineStatistics statistics = count_lines(*metric, hypotheses, {reference});
  CHECK(statistics.numbers == std::vector<double>{1, 6, 1, 3, 1, 2});
  CHECK(corpus_score(*metric, hypotheses, {reference}) == Approx(100 * 3.0 / 11));
}

TEST_CASE("TER of empty lines", "[ter]") {
  const auto metric = make_ter({});
  CHECK(corpus_score(*metric, {""}, {{""}}) == 0);
  CHECK(corpus_score(*metric, {"a b"}, {{""}}) == 100);
  CHECK(corpus_score(*metric, {""}, {{"a b"}}) == 100);
}

TEST_CASE("TER takes the fewest edits and the mean length of several references", "[ter]") {
  const auto sums = count_lines(*make_ter({}), {"a b c"}, {{"a b c d"}, {"x"}}).sum();
  CHECK(sums == std::vector<double>{1, 2.5});
}

TEST_CASE("TER normalises references twice, as sacreBLEU does", "[ter]") {
  TerOptions options;
  options.normalized = true;
  // The hypothesis keeps "dog's" before a comma, the reference becomes "dog 's".
  CHECK(count_lines(*make_ter(options), {"a dog's, b"}, {{"a dog's, b"}}).sum() == std::vector<double>{2, 5});
}

TEST_CASE("A moved block costs one edit wherever it goes", "[ter]") {
  CHECK(translation_edits({4, 5, 6, 1, 2, 3}, {1, 2, 3, 4, 5, 6}) == 1);
  CHECK(translation_edits({1, 4, 5, 2, 3, 6}, {1, 2, 3, 4, 5, 6}) == 1);
  CHECK(translation_edits({2, 1, 4, 3}, {1, 2, 3, 4}) == 2);
}

TEST_CASE("Edits lie between the difference of the bags of words and the plain edit distance", "[ter]") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Words a = draw(random, random() % 24, 6), b = draw(random, 1 + random() % 24, 6);
    const int64_t edits = translation_edits(a, b);
    int64_t surplus = 0, lack = 0;
    for (uint32_t word = 0; word < 6; ++word) {
      const auto difference = std::count(a.begin(), a.end(), word) - std::count(b.begin(), b.end(), word);
      (difference > 0 ? surplus : lack) += std::abs(difference);
    }
    REQUIRE(edits >= std::max(surplus, lack));
    REQUIRE(edits <= plain_distance(a, b));
    REQUIRE(translation_edits(b, b) == 0);
  }
}

TEST_CASE("Lines of very different length are handled", "[ter]") {
  std::mt19937 random(3);
  const Words longer = draw(random, 900, 50);
  CHECK(translation_edits({}, longer) == 900);
  CHECK(translation_edits(longer, {}) == 900);
  CHECK(translation_edits({longer[0]}, longer) == 899);
  CHECK(translation_edits(longer, {longer[0]}) == 899);
  CHECK(translation_edits(Words(3, 99), longer) == 900);
}
