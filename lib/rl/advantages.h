#pragma once
// What becomes of rewards before a loss sees them: baselines, normalisation, elimination. Numbers in, numbers out.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "rl/reward_queue.h"

namespace seqmill::rl {

struct AdvantageOptions {
  std::string baseline = "none";   ///< none; fifo-mean, fifo-z (less the mean of the queue, and over its deviation); group-mean (of an input's candidates); greedy (its greedy output)
  int64_t queue = 1000;            ///< of fifo-mean and fifo-z
  std::string normalise = "none";  ///< within an input's candidates, after the baseline: none, z, minmax, mean-max
  double scale = 1;                ///< of all advantages, before clipping
  double clip = 0;                 ///< largest magnitude; 0: any
  double penalty_scale = 1;        ///< of negative advantages

  void declare(Options& options);  ///< keys "advantage.<name>"
  void check() const;
  bool uses_queue() const { return baseline == "fifo-mean" || baseline == "fifo-z"; }
  bool needs_greedy() const { return baseline == "greedy"; }
};

/// Rewards of the candidates of one input.
struct Group {
  std::vector<double> rewards;
  double greedy = 0;  ///< reward of the greedy output; of baseline "greedy"
};

/// Of each group, one an candidate. The queue, if it is used, has been given these rewards before. Deviations of 0 count as 1: equal rewards have advantage 0 wherever the mean is taken away.
///   z: (r - mean) / deviation        minmax: (r - min) / (max - min)        mean-max: (r - mean) / (max - mean)
std::vector<std::vector<double>> advantages_of(const std::vector<Group>& groups, const AdvantageOptions& options, const RewardQueue& queue);

/// What the queue's mean (or that of the groups) is for the log.
double mean_baseline(const std::vector<Group>& groups, const AdvantageOptions& options, const RewardQueue& queue);

/// So many of `inputs` are left when ceil(ratio inputs) are dropped; at least one.
size_t left_of(size_t inputs, double ratio);
/// Which of `capabilities.size()` inputs stay when ceil(ratio B) of them are dropped, those of the highest capability, of equals the later ones; at least one stays. In their order.
std::vector<size_t> eliminate(const std::vector<double>& capabilities, double ratio);

}  // namespace seqmill::rl
