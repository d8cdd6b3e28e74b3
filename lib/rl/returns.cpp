#include "rl/returns.h"

#include <algorithm>

namespace seqmill::rl {

TokenReturns generalised_advantages(const std::vector<double>& rewards, const std::vector<double>& values, double gamma, double lambda) {
  TokenReturns result{std::vector<double>(rewards.size()), std::vector<double>(rewards.size())};
  double advantage = 0, next_value = 0;
  for (size_t t = rewards.size(); t-- > 0;) {
    advantage = rewards[t] + gamma * next_value - values[t] + gamma * lambda * advantage;
    next_value = values[t];
    result.advantages[t] = advantage;
    result.returns[t] = advantage + values[t];
  }
  return result;
}

std::vector<double> token_rewards(double reward, const std::vector<double>& logprobs, const std::vector<double>& reference_logprobs, double beta, bool one_sided) {
  std::vector<double> rewards(logprobs.size());
  for (size_t t = 0; t < reference_logprobs.size(); ++t) {
    const double ratio = logprobs[t] - reference_logprobs[t];
    rewards[t] = -beta * (one_sided ? std::max(0.0, ratio) : ratio);
  }
  if (!rewards.empty()) rewards.back() += reward;
  return rewards;
}

}  // namespace seqmill::rl
