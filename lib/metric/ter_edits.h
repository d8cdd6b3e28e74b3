#pragma once
// The edit count of TER between two sequences of word numbers.

#include <cstdint>
#include <vector>

namespace seqmill::metric {

/// Shifts plus insertions, deletions and substitutions that turn `hypothesis` into `reference`, by greedy search: while a shift
/// lowers the edit distance, the one that lowers it most is applied. Limits of the search: blocks of at most 10 words, moved at
/// most 50 positions, 1000 shifts tried in all; the distance is taken within 25 columns of the length-scaled diagonal (more
/// where the lengths ask for it), so for long lines it may exceed the plain edit distance.
int64_t translation_edits(const std::vector<uint32_t>& hypothesis, const std::vector<uint32_t>& reference);

}  // namespace seqmill::metric
