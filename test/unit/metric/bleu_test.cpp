#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "metric/bleu.h"

using namespace seqmill;
using namespace seqmill::metric;
using Catch::Approx;

namespace {

const std::vector<std::string> kHypotheses = {"the cat sat on the mat", "a b c", "guten Tag"};
const std::vector<std::vector<std::string>> kReferences = {{"the cat is on the mat", "c a b", "Guten Tag!"}};

BleuScore score_of(const std::vector<double>& counts, const std::vector<double>& totals, double length, double reference,
                   const std::string& smoothing, double value = -1, bool effective = false) {
  BleuOptions options;
  options.smoothing = smoothing;
  options.smooth_value = value;
  options.effective_order = effective;
  return bleu_score(counts, totals, length, reference, options);
}

}  // namespace

// Matches/totals: 1-grams 5/6 + 3/3 + 1/2, 2-grams 3/5 + 1/2 + 0/1, 3-grams 1/4 + 0/1, 4-grams 0/3; lengths 11 and 6+3+3, since
// 13a makes a token of the exclamation mark.
TEST_CASE("BLEU of three lines computed by hand", "[bleu]") {
  const auto metric = make_bleu({});
  const LineStatistics statistics = count_lines(*metric, kHypotheses, kReferences);
  const std::vector<double> sums = statistics.sum();
  CHECK(sums == std::vector<double>{11, 12, 9, 4, 1, 0, 11, 8, 5, 3});
  const double penalty = std::exp(1 - 12.0 / 11);
  const double product = 9.0 / 11 * 4 / 8 * 1 / 5 * (1.0 / (2 * 3));
  CHECK(metric->score(sums.data(), 3) == Approx(100 * penalty * std::pow(product, 0.25)).epsilon(1e-12));
  CHECK(metric->score(sums.data(), 3) == Approx(31.2028).margin(1e-4));
}

TEST_CASE("BLEU smoothing replaces a precision of zero", "[bleu]") {
  const std::vector<double> counts = {4, 2, 0, 0}, totals = {4, 3, 2, 1};
  CHECK(score_of(counts, totals, 4, 4, "none").score == 0);
  // exp: 1/(2*2), 1/(4*1); floor: 0.1/2, 0.1/1; add-k: (2+1)/(3+1), 1/3, 1/2
  CHECK(score_of(counts, totals, 4, 4, "exp").score == Approx(100 * std::pow(2.0 / 3 / 4 / 4, 0.25)));
  CHECK(score_of(counts, totals, 4, 4, "floor").score == Approx(100 * std::pow(2.0 / 3 * 0.05 * 0.1, 0.25)));
  CHECK(score_of(counts, totals, 4, 4, "floor", 0.5).score == Approx(100 * std::pow(2.0 / 3 * 0.25 * 0.5, 0.25)));
  const BleuScore added = score_of(counts, totals, 4, 4, "add-k");
  CHECK(added.score == Approx(100 * std::pow(0.75 / 3 / 2, 0.25)));
  CHECK(added.counts == std::vector<double>{4, 3, 1, 1});
  CHECK(added.totals == std::vector<double>{4, 4, 3, 2});
}

TEST_CASE("BLEU without any match is zero whatever the smoothing", "[bleu]") {
  for (const char* smoothing : {"exp", "floor", "add-k", "none"}) {
    const BleuScore result = score_of({0, 0, 0, 0}, {5, 4, 3, 2}, 5, 5, smoothing);
    CHECK(result.score == 0);
    CHECK(result.precisions == std::vector<double>(4, 0.0));
    CHECK(result.counts == std::vector<double>(4, 0.0));
  }
}

TEST_CASE("BLEU effective order leaves out orders longer than the hypothesis", "[bleu]") {
  CHECK(score_of({2, 1, 0, 0}, {2, 1, 0, 0}, 2, 2, "exp", -1, true).score == Approx(100));
  CHECK(score_of({2, 1, 0, 0}, {2, 1, 0, 0}, 2, 2, "exp").score == 0);
}

TEST_CASE("BLEU clips by the best reference and takes the closest length", "[bleu]") {
  const auto metric = make_bleu({});
  // "the" seven times, of which two stand in the first reference (Papineni et al., 2002); lengths 7 and 5 are compared with 4.
  auto sums = count_lines(*metric, {"the the the the the the the"}, {{"the cat is on the mat x"}, {"there is a cat on"}}).sum();
  CHECK(sums[0] == 7);
  CHECK(sums[1] == 7);
  CHECK(sums[2] == 2);
  sums = count_lines(*metric, {"a b c d"}, {{"a b c d e f"}, {"a b"}}).sum();
  CHECK(sums[1] == 2);  // both differ by two: the shorter one
}

TEST_CASE("BLEU signature says what was done", "[bleu]") {
  BleuOptions options;
  options.smoothing = "floor";
  options.lowercase = true;
  options.effective_order = true;
  CHECK(make_bleu(options)->signature(2) == "nrefs:2|case:lc|eff:yes|tok:13a|smooth:floor[0.10]|version:2.6.0");
}

TEST_CASE("A system equal to its reference has BLEU 100, and scores do not depend on how lines are summed", "[bleu]") {
  const auto metric = make_bleu({});
  const std::vector<std::string> text(200, "one two three four five six .");
  CHECK(corpus_score(*metric, text, {text}) == Approx(100));
  const LineStatistics statistics = count_lines(*metric, kHypotheses, kReferences);
  for (size_t i = 0; i < 3; ++i) {
    const LineStatistics alone = count_lines(*metric, {kHypotheses[i]}, {{kReferences[0][i]}});
    CHECK(std::vector<double>(statistics.row(i), statistics.row(i) + statistics.width) == alone.numbers);
  }
}

TEST_CASE("Misaligned references are refused", "[bleu]") {
  const auto metric = make_bleu({});
  CHECK_THROWS_AS(count_lines(*metric, {"a", "b"}, {{"a"}}), Error);
  CHECK_THROWS_AS(count_lines(*metric, {"a"}, {}), Error);
}
