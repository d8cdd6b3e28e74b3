#include "reward/best_of.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace seqmill::reward {

double best_of_any(const std::vector<double>& rewards, const std::vector<double>& values, int64_t n) {
  const auto count = static_cast<int64_t>(rewards.size());
  if (n < 1 || n > count || values.size() != rewards.size()) fail("the best of {} of {} answers with {} values", n, count, values.size());
  std::vector<size_t> order(rewards.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // The best in front; of equal ones the first.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rewards[a] > rewards[b]; });
  double weight = static_cast<double>(n) / static_cast<double>(count), mean = 0;  // C(N - 1, n - 1) / C(N, n)
  for (int64_t k = count; k >= n; --k) {
    mean += weight * values[order[static_cast<size_t>(count - k)]];
    if (k > 1) weight *= static_cast<double>(k - n) / static_cast<double>(k - 1);
  }
  return mean;
}

}  // namespace seqmill::reward
