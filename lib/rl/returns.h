#pragma once
// Rewards of tokens, and what follows of them with a value head: generalised advantage estimation (Schulman et al., 2016).

#include <cstdint>
#include <vector>

namespace seqmill::rl {

struct TokenReturns {
  std::vector<double> advantages, returns;
};

/// delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lambda A_{t+1}, return_t = A_t + V_t; nothing comes behind the last token.
TokenReturns generalised_advantages(const std::vector<double>& rewards, const std::vector<double>& values, double gamma, double lambda);

/// Of each token -beta (log p - log p_reference), of the last one the reward of the whole besides. `one_sided`: what is less probable than under the reference costs nothing and gains nothing.
std::vector<double> token_rewards(double reward, const std::vector<double>& logprobs, const std::vector<double>& reference_logprobs, double beta, bool one_sided);

}  // namespace seqmill::rl
