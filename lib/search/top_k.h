#pragma once
// The best few of many continuations.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace seqmill::search {

/// One continuation: row `row` goes on with `token`.
struct Candidate {
  double value;  ///< what it is ranked by
  int32_t token;
  int32_t row;
};

/// Larger values first, then smaller token ids, then smaller rows.
bool ranks_before(const Candidate& a, const Candidate& b);

/// Keeps the `capacity` best candidates of all rows added since `reset`. Entries of -infinity are impossible and
/// never kept. A row costs one comparison per entry, in blocks that the compiler vectorises, while entries rarely
/// enter the selection.
class TopK {
 public:
  void reset(int64_t capacity);
  /// Adds base + logprobs[token] for all tokens of row `row`; `base` is finite. Returns false when it met an entry
  /// that is NaN or +infinity.
  bool add_row(const float* logprobs, int64_t size, double base, int32_t row);
  /// The kept candidates, best first. Valid until `reset`; no row may be added after it.
  const std::vector<Candidate>& sorted();

 private:
  void offer(const Candidate& candidate);
  float threshold(double base) const;

  size_t capacity_ = 0;
  std::vector<Candidate> heap_;  // the worst one in front
};

}  // namespace seqmill::search
