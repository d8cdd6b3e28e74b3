#pragma once
// Longest common subsequences of word numbers.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace seqmill::metric {

/// The length of the longest common subsequence; bit-parallel (Hyyrö, 2004), n*m/64 steps.
size_t lcs_length(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b);

/// Sets marks[i] for every i of `a` that belongs to the longest common subsequence with `b` found by reading the table from its
/// end: equal words pair up, else the larger neighbour is followed, and on a tie a's word is dropped.
void mark_lcs(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b, std::vector<bool>& marks);

}  // namespace seqmill::metric
