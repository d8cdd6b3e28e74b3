#include "metric/lcs.h"

#include <algorithm>
#include <unordered_map>

namespace seqmill::metric {

size_t lcs_length(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  const size_t blocks = (a.size() + 63) / 64;
  std::unordered_map<uint32_t, std::vector<uint64_t>> positions;  // of each word in `a`
  for (size_t i = 0; i < a.size(); ++i) {
    auto& bits = positions[a[i]];
    bits.resize(blocks);
    bits[i / 64] |= uint64_t{1} << (i % 64);
  }
  // A zero bit at i: the subsequence of a[0..i] is longer by one than that of a[0..i-1]. Each word of b updates all at once:
  // v = (v + (v & m)) | (v & ~m), with the carry going from block to block.
  std::vector<uint64_t> row(blocks, ~uint64_t{0});
  for (const uint32_t word : b) {
    const auto found = positions.find(word);
    if (found == positions.end()) continue;
    uint64_t carry = 0;
    for (size_t k = 0; k < blocks; ++k) {
      const uint64_t v = row[k], matched = v & found->second[k];
      const uint64_t partial = v + matched;
      const uint64_t sum = partial + carry;
      carry = (partial < v) | (sum < partial);
      row[k] = sum | (v & ~found->second[k]);
    }
  }
  size_t length = 0;
  for (size_t i = 0; i < a.size(); ++i) length += (row[i / 64] >> (i % 64) & 1) == 0;
  return length;
}

// The table itself is not kept: one bit per cell, whether the left neighbour is larger than the one above, is enough to read
// it from its end.
void mark_lcs(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b, std::vector<bool>& marks) {
  const size_t width = b.size() + 1;
  std::vector<bool> left_is_larger((a.size() + 1) * width);
  std::vector<uint32_t> above(width), row(width);
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j < width; ++j) {
      left_is_larger[i * width + j] = row[j - 1] > above[j];
      row[j] = a[i - 1] == b[j - 1] ? above[j - 1] + 1 : std::max(above[j], row[j - 1]);
    }
    above.swap(row);
  }
  size_t i = a.size(), j = b.size();
  while (i > 0 && j > 0) {
    if (a[i - 1] == b[j - 1]) {
      marks[--i] = true;
      --j;
    } else if (left_is_larger[i * width + j]) {
      --j;
    } else {
      --i;
    }
  }
}

}  // namespace seqmill::metric
