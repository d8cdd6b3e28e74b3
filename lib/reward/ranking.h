#pragma once
// From judgements of pairs to the best answer, or to an order.

#include <cstddef>
#include <functional>
#include <vector>

namespace seqmill::reward {

/// The score of answer i against answer j: more than 0.5 when i is better, 0.5 being a tie.
using PairScore = std::function<double(size_t i, size_t j)>;

/// The best of `count` answers, at least one, by count - 1 comparisons, each with the best so far; a tie keeps it (GRAM, "list ranking").
size_t best_by_scan(size_t count, const PairScore& score);
/// Of halves the winners, and of those: as many comparisons, in ceil(log2 count) rounds; a tie keeps the first.
size_t best_by_tournament(size_t count, const PairScore& score);
/// Mean score of each answer against all others, by count (count - 1) / 2 comparisons: score(j, i) is taken as 1 - score(i, j).
std::vector<double> round_robin(size_t count, const PairScore& score);

}  // namespace seqmill::reward
