#pragma once
// How well a model already does on an input, and how many candidates at what temperature follow of it: dynamic sampling of ESRL (Wang et al., AAAI 2024, "ESRL: Efficient Sampling-based
// Reinforcement Learning for Sequence Generation"). The paper says that sampling follows capability; the formulas below are reconstructed but for max_probability_capability(), which is
// that of public code of its authors (DeepSpeed-Chat-Extension).

#include <cstdint>
#include <string>

#include "base/options.h"
#include "base/rng.h"
#include "search/step_statistics.h"

namespace seqmill::rl {

using search::StepStatistics;

/// Mean reward of probes / the largest there can be, within [0, 1]; 0 for NaN.
double reward_capability(double reward, double largest);
/// 1 - mean entropy / log V, within [0, 1].
double entropy_capability(const StepStatistics& steps, int64_t vocabulary);
/// 1 + mean of q exp(q): from just above 1 to 1 + e, rising with every q.
double max_probability_capability(const StepStatistics& steps);

struct DynamicSampling {
  std::string capability = "none";  ///< none, reward, entropy, max-probability, random (the control: uniform in [0, 1])
  bool size = true, temperature = true;  ///< what follows of it
  int64_t least = 2, most = 8;           ///< candidates
  double coldest = 0.6, hottest = 1.2;   ///< temperatures
  double largest_reward = 1;             ///< of "reward"

  void declare(Options& options);  ///< keys "dynamic.<name>"
  void check() const;
  bool is_on() const { return capability != "none"; }
  bool follows_size() const { return is_on() && size; }
  bool follows_temperature() const { return is_on() && temperature; }

  /// In [0, 1]. `reward` of a probe, for "reward"; `rng` for "random".
  double capability_of(double reward, const StepStatistics& steps, int64_t vocabulary, Rng& rng) const;
  /// least + round((1 - c) (most - least)): the weaker the model, the more candidates. `fixed` unless size follows.
  int64_t candidates(double capability, int64_t fixed) const;
  /// coldest + (1 - c) (hottest - coldest). `fixed` unless temperature follows.
  double temperature_of(double capability, double fixed) const;
};

}  // namespace seqmill::rl
