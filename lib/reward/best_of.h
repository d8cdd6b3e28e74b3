#pragma once
// What the best of n samples is worth.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace seqmill::reward {

/// The mean over all sets of n of the answers, of the value of the one with the largest reward in the set (of equal ones the first): sum over k of C(k - 1, n - 1) / C(N, n) times the
/// value of the answer with the k-th smallest reward. 1 <= n <= N.
double best_of_any(const std::vector<double>& rewards, const std::vector<double>& values, int64_t n);

}  // namespace seqmill::reward
