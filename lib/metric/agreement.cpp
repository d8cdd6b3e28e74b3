#include "metric/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::metric {
namespace {

// The distinct labels in order: as numbers when all are numbers, else as text.
std::vector<std::string> sorted_labels(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> labels(a);
  labels.insert(labels.end(), b.begin(), b.end());
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  double ignored;
  if (std::all_of(labels.begin(), labels.end(), [&](const std::string& label) { return parse_double(label, ignored); })) {
    const auto value = [](const std::string& label) {
      double number = 0;
      parse_double(label, number);
      return number;
    };
    std::stable_sort(labels.begin(), labels.end(),
                     [&](const std::string& p, const std::string& q) { return value(p) < value(q); });
  }
  return labels;
}

double weight(size_t i, size_t j, const std::string& weights) {
  const double distance = std::fabs(static_cast<double>(i) - static_cast<double>(j));
  if (weights == "none") return i == j ? 0 : 1;
  return weights == "linear" ? distance : distance * distance;
}

/// Sum over all p, q of weight(p, q) * a[p] * b[q], in time linear in the number of labels.
double expected_disagreement(const std::vector<double>& a, const std::vector<double>& b, const std::string& weights) {
  double total_a = 0, total_b = 0, first_a = 0, first_b = 0, second_a = 0, second_b = 0, equal = 0, linear = 0;
  for (size_t p = 0; p < a.size(); ++p) {
    const auto place = static_cast<double>(p);
    // Labels before p count with their distance to it: total * place - sum of places.
    linear += a[p] * (total_b * place - first_b) + b[p] * (total_a * place - first_a);
    total_a += a[p];
    total_b += b[p];
    first_a += a[p] * place;
    first_b += b[p] * place;
    second_a += a[p] * place * place;
    second_b += b[p] * place * place;
    equal += a[p] * b[p];
  }
  if (weights == "linear") return linear;
  if (weights == "quadratic") return second_a * total_b - 2 * first_a * first_b + total_a * second_b;
  return total_a * total_b - equal;
}

}  // namespace

Kappa cohen_kappa(const std::vector<std::string>& a, const std::vector<std::string>& b, const std::string& weights) {
  if (weights != "none" && weights != "linear" && weights != "quadratic") fail_usage("unknown weights '{}'", weights);
  if (a.size() != b.size()) fail("the raters gave {} and {} labels", a.size(), b.size());
  const std::vector<std::string> labels = sorted_labels(a, b);
  std::unordered_map<std::string, size_t> place;
  for (size_t i = 0; i < labels.size(); ++i) place.emplace(labels[i], i);

  Kappa result;
  result.n = a.size();
  result.labels = labels.size();
  std::vector<double> count_a(labels.size()), count_b(labels.size());
  double observed = 0, equal = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t p = place[a[i]], q = place[b[i]];
    ++count_a[p];
    ++count_b[q];
    observed += weight(p, q, weights);
    equal += p == q;
  }
  const double expected = expected_disagreement(count_a, count_b, weights);
  if (result.n > 0) result.observed_agreement = equal / static_cast<double>(result.n);
  if (expected > 0) result.value = 1 - observed * static_cast<double>(result.n) / expected;
  return result;
}

std::optional<double> pass_at_k(int64_t n, int64_t c, int64_t k) {
  if (n < 0 || c < 0 || c > n || k < 1) fail("pass@k needs 0 <= c <= n and k >= 1; found n = {}, c = {}, k = {}", n, c, k);
  if (k > n) return std::nullopt;
  if (n - c < k) return 1.0;
  // The product of Chen et al. over the failures that would have to be drawn; min(c, k) factors either way round.
  double all_fail = 1;
  const int64_t factors = std::min(c, k), other = std::max(c, k);
  for (int64_t i = 0; i < factors; ++i) all_fail *= 1 - static_cast<double>(other) / static_cast<double>(n - i);
  return 1 - all_fail;
}

}  // namespace seqmill::metric
