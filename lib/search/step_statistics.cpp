#include "search/step_statistics.h"

#include <algorithm>
#include <cmath>

#include "base/exponential.h"

namespace seqmill::search {

void StepStatistics::add(const float* logprobs, int64_t vocabulary) {
  constexpr int64_t kBlock = 256;  // summed in float, blocks in double
  float highest = -INFINITY;
  double sum = 0;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    float block = 0;
    for (int64_t i = begin; i < std::min(vocabulary, begin + kBlock); ++i) {
      const float logprob = std::max(std::min(logprobs[i], 0.0F), -100.0F);  // where p log p is nothing
      block -= exp_of_negative(logprob) * logprob;
      highest = std::max(highest, logprobs[i]);
    }
    sum += static_cast<double>(block);
  }
  const double q = std::min(1.0, std::exp(static_cast<double>(highest)));
  entropy += sum;
  peaks += q * std::exp(q);
  ++steps;
}

}  // namespace seqmill::search
