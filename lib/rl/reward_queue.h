#pragma once
// The newest rewards of a training, whatever inputs they belong to: a global baseline (ESRL; queue and standardisation as in public code of its authors).

#include <cstdint>
#include <deque>
#include <vector>

#include "io/json.h"

namespace seqmill::rl {

/// By differences from the first: of equal values it is these, to the bit, and their deviation is 0.
template <typename Values>
double exact_mean(const Values& values) {
  double sum = 0;
  for (const double value : values) sum += value - values.front();
  return values.front() + sum / static_cast<double>(values.size());
}

class RewardQueue {
 public:
  /// Keeps so many, at least 1.
  explicit RewardQueue(int64_t capacity);

  /// The oldest give way.
  void push(const std::vector<double>& rewards);

  int64_t size() const { return static_cast<int64_t>(rewards_.size()); }
  double mean() const;       ///< 0 of none
  double deviation() const;  ///< standard deviation of the rewards as they are (divided by their number): 0 of one

  io::Json to_json() const;
  /// Of a longer list the newest. Throws Error for what is no list of finite numbers.
  void set(const io::Json& json);

 private:
  size_t capacity_;
  std::deque<double> rewards_;
};

}  // namespace seqmill::rl
