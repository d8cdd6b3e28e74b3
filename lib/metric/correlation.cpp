#include "metric/correlation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>

#include "base/error.h"
#include "metric/special.h"

namespace seqmill::metric {
namespace {

using Column = std::vector<double>;

constexpr double kNormal975 = 1.959963984540054;
constexpr size_t kExactKendall = 33;

bool is_constant(const Column& x) {
  return std::all_of(x.begin(), x.end(), [&](double v) { return v == x.front(); });
}

std::string undefined_reason(const Column& x, const Column& y) {
  if (x.size() != y.size()) fail("two columns of {} and {} values cannot be correlated", x.size(), y.size());
  if (x.size() < 2) return "fewer than two observations";
  return is_constant(x) || is_constant(y) ? "constant vector" : "";
}

// Centred twice: the mean of values near 1e8 is itself rounded, and what it misses is removed by the second pass.
Column centred(Column x) {
  for (int pass = 0; pass < 2; ++pass) {
    long double sum = 0;
    for (const double v : x) sum += v;
    const double mean = static_cast<double>(sum / static_cast<long double>(x.size()));
    for (double& v : x) v -= mean;
  }
  return x;
}

double product_moment(const Column& x, const Column& y) {
  const Column a = centred(x), b = centred(y);
  // Scaled, so that the squares neither overflow nor vanish.
  const auto magnitude = [](const Column& c) {
    double largest = 0;
    for (const double v : c) largest = std::max(largest, std::fabs(v));
    return largest;
  };
  const double scale_a = magnitude(a), scale_b = magnitude(b);
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double u = a[i] / scale_a, v = b[i] / scale_b;
    aa += u * u, bb += v * v, ab += u * v;
  }
  return std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0);
}

std::vector<size_t> sorted_order(const Column& x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  return order;
}

Column ranks(const Column& x) {
  const std::vector<size_t> order = sorted_order(x);
  Column rank(x.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && x[order[end]] == x[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) rank[order[i]] = 0.5 * static_cast<double>(begin + end + 1);
    begin = end;
  }
  return rank;
}

// Sums over the runs of equal values in a sorted sequence: pairs, and the two terms of the variance of Kendall's statistic.
struct Ties {
  double pairs = 0, triples = 0, weighted = 0;
};

template <typename Same>
Ties count_ties(size_t n, Same same) {
  Ties ties;
  for (size_t begin = 0; begin < n;) {
    size_t end = begin + 1;
    while (end < n && same(begin, end)) ++end;
    const double t = static_cast<double>(end - begin);
    ties.pairs += t * (t - 1) / 2;
    ties.triples += t * (t - 1) * (t - 2);
    ties.weighted += t * (t - 1) * (2 * t + 5);
    begin = end;
  }
  return ties;
}

// Inversions of `values`, which is sorted on the way (bottom-up merge sort).
double count_inversions(Column& values) {
  double inversions = 0;
  Column merged(values.size());
  for (size_t width = 1; width < values.size(); width *= 2) {
    for (size_t begin = 0; begin < values.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, values.size()), end = std::min(begin + 2 * width, values.size());
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        if (right == end || (left < middle && values[left] <= values[right])) {
          merged[out] = values[left++];
        } else {
          inversions += static_cast<double>(middle - left);
          merged[out] = values[right++];
        }
      }
    }
    values.swap(merged);
  }
  return inversions;
}

// P(a random permutation has as few discordant or as few concordant pairs), by the distribution of inversions: the m-th element
// adds 0..m-1 of them with equal probability.
double kendall_exact(size_t n, double discordant) {
  const double pairs = 0.5 * static_cast<double>(n) * static_cast<double>(n - 1);
  const auto fewest = static_cast<size_t>(std::min(discordant, pairs - discordant));
  Column probability(fewest + 1), next(fewest + 1);
  probability[0] = 1;
  for (size_t m = 2; m <= n; ++m) {
    double window = 0;
    for (size_t k = 0; k <= fewest; ++k) {
      window += probability[k];
      if (k >= m) window -= probability[k - m];
      next[k] = window / static_cast<double>(m);
    }
    probability.swap(next);
  }
  return std::min(1.0, 2 * std::accumulate(probability.begin(), probability.end(), 0.0));
}

Column take(const Column& x, const std::vector<size_t>& lines) {
  Column part;
  for (const size_t line : lines) part.push_back(x[line]);
  return part;
}

}  // namespace

Correlation pearson(const Column& x, const Column& y) {
  if (!undefined_reason(x, y).empty()) return {};
  const double r = product_moment(x, y);
  return {r, x.size() == 2 ? 1.0 : correlation_two_sided(r, static_cast<double>(x.size()) - 2)};
}

Correlation spearman(const Column& x, const Column& y) {
  if (!undefined_reason(x, y).empty()) return {};
  const double r = product_moment(ranks(x), ranks(y));
  if (x.size() == 2) return {r, std::nullopt};
  return {r, correlation_two_sided(r, static_cast<double>(x.size()) - 2)};
}

// Knight's method (1966): sorted by x, then y, the discordant pairs are the inversions of y.
Correlation kendall_tau_b(const Column& x, const Column& y) {
  if (!undefined_reason(x, y).empty()) return {};
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] != x[b] ? x[a] < x[b] : y[a] < y[b]; });
  const size_t n = order.size();
  const auto same_x = [&](size_t i, size_t j) { return x[order[i]] == x[order[j]]; };
  const Ties in_x = count_ties(n, same_x);
  const Ties in_both = count_ties(n, [&](size_t i, size_t j) { return same_x(i, j) && y[order[i]] == y[order[j]]; });
  Column y_sorted = take(y, order);
  const double discordant = count_inversions(y_sorted);
  const Ties in_y = count_ties(n, [&](size_t i, size_t j) { return y_sorted[i] == y_sorted[j]; });

  const double count = static_cast<double>(n), pairs = count * (count - 1) / 2;
  const double difference = pairs - in_x.pairs - in_y.pairs + in_both.pairs - 2 * discordant;
  const double tau = difference / std::sqrt(pairs - in_x.pairs) / std::sqrt(pairs - in_y.pairs);
  Correlation result{std::clamp(tau, -1.0, 1.0), std::nullopt};
  const bool untied = in_x.pairs == 0 && in_y.pairs == 0;
  if (untied && (n <= kExactKendall || std::min(discordant, pairs - discordant) <= 1)) {
    result.p_value = kendall_exact(n, discordant);
    return result;
  }
  const double ordered = count * (count - 1);
  double variance = (ordered * (2 * count + 5) - in_x.weighted - in_y.weighted) / 18 + 2 * in_x.pairs * in_y.pairs / ordered;
  if (n > 2) variance += in_x.triples * in_y.triples / (9 * ordered * (count - 2));
  result.p_value = normal_two_sided(difference / std::sqrt(variance));
  return result;
}

std::optional<Interval> fisher_interval(double r, size_t n) {
  if (n <= 3) return std::nullopt;
  const double half = kNormal975 / std::sqrt(static_cast<double>(n) - 3);
  return Interval{std::tanh(std::atanh(r) - half), std::tanh(std::atanh(r) + half)};
}

CorrelationSet correlate(const Column& x, const Column& y) {
  CorrelationSet set;
  set.n = x.size();
  set.undefined_reason = undefined_reason(x, y);
  if (!set.undefined_reason.empty()) return set;
  set.pearson = pearson(x, y);
  set.spearman = spearman(x, y);
  set.kendall = kendall_tau_b(x, y);
  set.pearson_interval = fisher_interval(*set.pearson.value, set.n);
  return set;
}

GroupedCorrelation correlate_groups(const Column& x, const Column& y, const std::vector<std::string>& groups) {
  std::map<std::string, std::vector<size_t>> lines;
  for (size_t i = 0; i < groups.size(); ++i) lines[groups[i]].push_back(i);
  GroupedCorrelation result;
  result.groups = lines.size();
  result.mean.n = x.size();
  double pearson_sum = 0, spearman_sum = 0, kendall_sum = 0;
  for (const auto& [name, members] : lines) {
    const CorrelationSet set = correlate(take(x, members), take(y, members));
    if (!set.undefined_reason.empty()) {
      ++result.undefined;
      continue;
    }
    pearson_sum += *set.pearson.value;
    spearman_sum += *set.spearman.value;
    kendall_sum += *set.kendall.value;
  }
  const double defined = static_cast<double>(result.groups - result.undefined);
  if (defined == 0) {
    result.mean.undefined_reason = "undefined in every group";
    return result;
  }
  result.mean.pearson.value = pearson_sum / defined;
  result.mean.spearman.value = spearman_sum / defined;
  result.mean.kendall.value = kendall_sum / defined;
  return result;
}

}  // namespace seqmill::metric
