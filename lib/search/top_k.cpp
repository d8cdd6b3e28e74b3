#include "search/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace seqmill::search {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = 64;

// True when some entry is not below the threshold. Written with `!(<)` so that NaN counts as a hit and is seen by
// the caller, and with an integer "or" because the compiler may vectorise that, unlike a maximum of floats.
bool any_hit(const float* block, float threshold) {
  int hit = 0;
  for (int64_t i = 0; i < kBlock; ++i) hit |= !(block[i] < threshold);
  return hit != 0;
}

}  // namespace

bool ranks_before(const Candidate& a, const Candidate& b) {
  if (a.value != b.value) return a.value > b.value;
  if (a.token != b.token) return a.token < b.token;
  return a.row < b.row;
}

void TopK::reset(int64_t capacity) {
  capacity_ = static_cast<size_t>(capacity);
  heap_.clear();
}

// Everything below it is surely no better than the worst kept candidate. The sum base + entry is rounded, so
// entries slightly below the exact difference can still tie with it: the threshold gives way by more than that
// rounding.
float TopK::threshold(double base) const {
  if (heap_.size() < capacity_) return -kInfinity;
  const double worst = heap_.front().value;
  const double slack = 4 * std::numeric_limits<double>::epsilon() * (std::abs(base) + std::abs(worst));
  return std::nextafter(static_cast<float>(worst - base - slack), -kInfinity);
}

void TopK::offer(const Candidate& candidate) {
  if (heap_.size() == capacity_) {
    if (!ranks_before(candidate, heap_.front())) return;
    std::pop_heap(heap_.begin(), heap_.end(), ranks_before);
    heap_.back() = candidate;
  } else {
    heap_.push_back(candidate);
  }
  std::push_heap(heap_.begin(), heap_.end(), ranks_before);
}

bool TopK::add_row(const float* logprobs, int64_t size, double base, int32_t row) {
  float limit = threshold(base);
  bool valid = true;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, size);
    if (end - begin == kBlock && !any_hit(logprobs + begin, limit)) continue;
    for (int64_t token = begin; token < end; ++token) {
      const float logprob = logprobs[token];
      if (logprob < limit) continue;
      if (!(logprob < kInfinity)) valid = false;
      if (logprob > -kInfinity) offer({base + static_cast<double>(logprob), static_cast<int32_t>(token), row});
    }
    limit = threshold(base);
  }
  return valid;
}

const std::vector<Candidate>& TopK::sorted() {
  std::sort(heap_.begin(), heap_.end(), ranks_before);
  return heap_;
}

}  // namespace seqmill::search
