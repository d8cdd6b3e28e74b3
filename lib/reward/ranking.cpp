#include "reward/ranking.h"

#include "base/error.h"

namespace seqmill::reward {
namespace {

void check_count(size_t count) {
  if (count == 0) fail("there is no answer to choose from");
}

/// Of answers begin .. end - 1.
size_t best_of_half(size_t begin, size_t end, const PairScore& score) {
  if (end - begin == 1) return begin;
  const size_t middle = begin + (end - begin + 1) / 2;
  const size_t first = best_of_half(begin, middle, score), second = best_of_half(middle, end, score);
  return score(second, first) > 0.5 ? second : first;
}

}  // namespace

size_t best_by_scan(size_t count, const PairScore& score) {
  check_count(count);
  size_t best = 0;
  for (size_t i = 1; i < count; ++i) {
    if (score(i, best) > 0.5) best = i;
  }
  return best;
}

size_t best_by_tournament(size_t count, const PairScore& score) {
  check_count(count);
  return best_of_half(0, count, score);
}

std::vector<double> round_robin(size_t count, const PairScore& score) {
  std::vector<double> sums(count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = i + 1; j < count; ++j) {
      const double of_first = score(i, j);
      sums[i] += of_first;
      sums[j] += 1 - of_first;
    }
  }
  for (double& sum : sums) sum = count > 1 ? sum / static_cast<double>(count - 1) : 0.5;
  return sums;
}

}  // namespace seqmill::reward
