#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "metric/agreement.h"
#include "metric/bleu.h"
#include "metric/correlation.h"
#include "metric/resample.h"
#include "metric/special.h"

using namespace seqmill;
using namespace seqmill::metric;
using Catch::Approx;

using Column = std::vector<double>;

TEST_CASE("Incomplete beta against closed forms", "[special]") {
  CHECK(incomplete_beta(1, 1, 0.3) == Approx(0.3));
  CHECK(incomplete_beta(2, 1, 0.3) == Approx(0.09));
  CHECK(incomplete_beta(1, 3, 0.3) == Approx(1 - 0.7 * 0.7 * 0.7));
  CHECK(incomplete_beta(0.5, 0.5, 0.25) == Approx(1.0 / 3));  // 2/pi asin(sqrt x)
  CHECK(incomplete_beta(40, 60, 0.4) + incomplete_beta(60, 40, 0.6) == Approx(1));
  CHECK(normal_two_sided(1.959963984540054) == Approx(0.05));
}

// Deviations of x: -2 -1 0 1 2, of y: -1 -2 1 0 2 (mean 3): sum of products 8, squares 10 and 10.
TEST_CASE("Correlations of five pairs by hand", "[correlation]") {
  const Column x = {1, 2, 3, 4, 5}, y = {2, 1, 4, 3, 5};
  CHECK(*pearson(x, y).value == Approx(0.8));
  CHECK(*spearman(x, y).value == Approx(0.8));
  CHECK(*kendall_tau_b(x, y).value == Approx(0.6));  // 8 concordant, 2 discordant
  // Two discordant pairs or fewer: 1 + 4 + 9 permutations of 120, and as many with two concordant or fewer.
  CHECK(*kendall_tau_b(x, y).p_value == Approx(28.0 / 120));
  // t = 0.8 sqrt(3 / 0.36) with 3 degrees of freedom.
  CHECK(*pearson(x, y).p_value == Approx(0.1040880).margin(1e-6));
}

TEST_CASE("Kendall's tau-b with ties by hand", "[correlation]") {
  // x has one tied pair, y one: pairs 6, concordant 4, discordant 0; tau = 4 / sqrt(5 * 5).
  CHECK(*kendall_tau_b({1, 1, 2, 3}, {1, 2, 3, 3}).value == Approx(0.8));
  CHECK(*kendall_tau_b({1, 2, 3, 4}, {4, 3, 2, 1}).value == -1);
}

TEST_CASE("Fast Kendall agrees with counting pairs", "[correlation]") {
  Column x, y;
  uint32_t state = 12345;
  const auto next = [&state](uint32_t bound) {
    state = state * 1664525u + 1013904223u;
    return static_cast<double>((state >> 16) % bound);
  };
  for (int i = 0; i < 150; ++i) {
    x.push_back(next(12));
    y.push_back(next(9) + x.back() / 2);
  }
  double difference = 0, untied_x = 0, untied_y = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
      difference += a * b;
      untied_x += a != 0;
      untied_y += b != 0;
    }
  }
  CHECK(*kendall_tau_b(x, y).value == Approx(difference / std::sqrt(untied_x * untied_y)).epsilon(1e-12));
}

TEST_CASE("Correlation survives a large offset and great scale", "[correlation]") {
  const Column x = {1, 2, 3, 4, 5}, y = {2, 1, 4, 3, 5};
  Column shifted, huge;
  for (const double v : x) shifted.push_back(v + 1e9);
  for (const double v : x) huge.push_back(v * 1e200);
  CHECK(*pearson(shifted, y).value == Approx(0.8).epsilon(1e-12));
  CHECK(*pearson(huge, y).value == Approx(0.8));
}

TEST_CASE("What is undefined has no value", "[correlation]") {
  for (const auto& [x, y] : std::vector<std::pair<Column, Column>>{{{1, 1, 1}, {1, 2, 3}}, {{1, 2, 3}, {7, 7, 7}}, {{1}, {2}}, {{}, {}}}) {
    const CorrelationSet set = correlate(x, y);
    CHECK_FALSE(set.undefined_reason.empty());
    CHECK_FALSE(set.pearson.value);
    CHECK_FALSE(set.spearman.value);
    CHECK_FALSE(set.kendall.value);
    CHECK_FALSE(set.pearson_interval);
  }
  CHECK_FALSE(spearman({1, 2}, {2, 1}).p_value);
  CHECK(*pearson({1, 2}, {2, 1}).p_value == 1);
  CHECK_THROWS_AS(correlate({1, 2}, {1}), Error);
}

TEST_CASE("Groups are averaged and undefined ones counted", "[correlation]") {
  const Column x = {1, 2, 3, 1, 2, 3, 5, 5, 9}, y = {1, 2, 3, 3, 1, 2, 1, 2, 4};
  const GroupedCorrelation result = correlate_groups(x, y, {"a", "a", "a", "b", "b", "b", "c", "c", "d"});
  CHECK(result.groups == 4);
  CHECK(result.undefined == 2);
  CHECK(result.mean.n == 9);
  CHECK(*result.mean.pearson.value == Approx((1 - 0.5) / 2));
  CHECK(*result.mean.kendall.value == Approx((1 - 1.0 / 3) / 2));
  CHECK_FALSE(correlate_groups({1, 2}, {3, 4}, {"a", "b"}).mean.pearson.value);
}

TEST_CASE("Fisher's interval", "[correlation]") {
  const auto interval = fisher_interval(0.5, 28);
  const double half = 1.959963984540054 / 5;
  CHECK(interval->low == Approx(std::tanh(std::atanh(0.5) - half)));
  CHECK(interval->high == Approx(std::tanh(std::atanh(0.5) + half)));
  CHECK_FALSE(fisher_interval(0.5, 3));
  CHECK(fisher_interval(1, 9)->low == 1);
}

TEST_CASE("Cohen's kappa by hand", "[kappa]") {
  // Agreement 3/4; expected 1/2 * 1/4 + 1/2 * 3/4 = 1/2.
  const Kappa kappa = cohen_kappa({"y", "y", "n", "n"}, {"y", "n", "n", "n"}, "none");
  CHECK(kappa.observed_agreement == Approx(0.75));
  CHECK(*kappa.value == Approx(0.5));
  // Labels in order of value: 1, 2, 10, one apart each. Observed distance 1; by chance, over the 9 pairs of a label of each
  // side, 3 (against the first label of b) + 2 * 3 (against the other two), squared 5 + 2 * 5.
  CHECK(*cohen_kappa({"1", "2", "10"}, {"1", "10", "10"}, "linear").value == Approx(1 - 3.0 / 9));
  CHECK(*cohen_kappa({"1", "2", "10"}, {"1", "10", "10"}, "quadratic").value == Approx(1 - 3.0 / 15));
  CHECK_FALSE(cohen_kappa({"a", "a"}, {"a", "a"}, "none").value);
  CHECK_THROWS_AS(cohen_kappa({"a"}, {"a"}, "cubic"), Error);
}

TEST_CASE("pass@k by hand", "[pass]") {
  CHECK(*pass_at_k(5, 2, 1) == Approx(0.4));
  CHECK(*pass_at_k(5, 2, 2) == Approx(1 - 3.0 / 10));  // C(3,2) / C(5,2)
  CHECK(*pass_at_k(5, 2, 4) == 1);
  CHECK(*pass_at_k(5, 0, 3) == 0);
  CHECK_FALSE(pass_at_k(5, 2, 6));
  CHECK_THROWS_AS(pass_at_k(5, 6, 1), Error);
  // Both ways of writing the product agree: k < c and c < k.
  CHECK(*pass_at_k(1000, 7, 300) == Approx(1 - std::exp(std::lgamma(994) - std::lgamma(694) - std::lgamma(1001) + std::lgamma(701))));
}

TEST_CASE("Bootstrap and randomisation of a clear and of no difference", "[resample]") {
  LineStatistics low{1, {}}, high{1, {}};
  for (int i = 0; i < 60; ++i) {
    low.numbers.push_back(i % 7);
    high.numbers.push_back(i % 7 + 1 + 0.1 * (i % 3));
  }
  const PairedBootstrap clear = paired_bootstrap(mean_of(low), mean_of(high), true, 500, 1);
  CHECK(clear.better_fraction == 1);
  CHECK(clear.p_value == Approx(1.0 / 501));
  CHECK(clear.delta.mean == Approx(1.1).margin(0.01));
  CHECK(paired_randomisation(mean_of(low), mean_of(high), 500, 1) == Approx(1.0 / 501));
  const PairedBootstrap same = paired_bootstrap(mean_of(low), mean_of(low), true, 200, 1);
  CHECK(same.p_value == 1);
  CHECK(same.better_fraction == 0);
  CHECK(paired_randomisation(mean_of(low), mean_of(low), 200, 1) == 1);
  LineStatistics shorter{1, {1, 2}};
  CHECK_THROWS_AS(paired_randomisation(mean_of(low), mean_of(shorter), 10, 1), Error);
}

TEST_CASE("Resampling depends on the seed and not on threads", "[resample]") {
  const auto metric = make_bleu({});
  std::vector<std::string> hypotheses, references;
  for (int i = 0; i < 50; ++i) {
    hypotheses.push_back("a b c d " + std::to_string(i % 5));
    references.push_back("a b c d " + std::to_string(i % 7));
  }
  const LineStatistics statistics = count_lines(*metric, hypotheses, {references});
  const int before = threads();
  set_threads(1);
  const Bootstrap one = bootstrap(sample_of(*metric, statistics), 100, 3)[0];
  set_threads(2);
  const Bootstrap two = bootstrap(sample_of(*metric, statistics), 100, 3)[0];
  set_threads(before);
  CHECK(one.mean == two.mean);
  CHECK(one.low == two.low);
  CHECK(one.mean != bootstrap(sample_of(*metric, statistics), 100, 4)[0].mean);
  CHECK(one.low <= one.median);
  CHECK(one.median <= one.high);
}

TEST_CASE("Quantiles interpolate", "[resample]") {
  CHECK(quantile({1, 2, 3, 4}, 0.5) == Approx(2.5));
  CHECK(quantile({1, 2, 3, 4}, 1) == 4);
  CHECK(quantile({7}, 0.3) == 7);
}
