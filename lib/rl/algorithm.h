#pragma once
// What a policy learns from the rewards of its candidates. One file per algorithm: pure functions on log-probabilities, and its registration. Sampling, rewards, baselines and the loop are shared.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "base/registry.h"
#include "rl/advantages.h"
#include "rl/capability.h"

namespace seqmill::rl {

/// Candidates of some inputs, all of each, one after another, as stage 2 scored them. N candidates of M tokens.
struct ScoredCandidates {
  at::Tensor logprobs;            ///< [M] log p of every token, with a graph in training; at temperature 1, without truncation
  std::vector<int64_t> lengths;   ///< [N] tokens of each
  std::vector<int64_t> groups;    ///< candidates of each input
  at::Tensor advantages;          ///< [N] or, with values, [M]
  at::Tensor drawn;               ///< [N] log-probability that each was drawn with, temperature and truncation included
  at::Tensor old_logprobs;        ///< [M] under the weights that they were drawn with; where needs_old_logprobs()
  at::Tensor reference_logprobs;  ///< [M] under the reference model; undefined without one
  at::Tensor values;              ///< [M] of the value head, with a graph; where needs_values()
  at::Tensor old_values, returns; ///< [M] likewise, without
  int64_t count() const { return static_cast<int64_t>(lengths.size()); }
};

/// A loss is `sum` / weight; parts of a batch add up both.
struct PolicyLoss {
  at::Tensor sum;     ///< scalar with graph
  double weight = 0;  ///< candidates, inputs or tokens, as the algorithm has it
};

/// What surrounds a loss by default, where an algorithm wants something else than the loop has.
struct RolloutDefaults {
  int64_t candidates = 5;
  DynamicSampling dynamic;
  AdvantageOptions advantage;
  int64_t passes = 1;  ///< over the candidates of one rollout
};

class Algorithm {
 public:
  virtual ~Algorithm() = default;
  virtual void set_defaults(RolloutDefaults&) const {}
  virtual void declare(Options&) {}  ///< keys "algorithm.<name>"
  /// Of an input, without which there is nothing to learn.
  virtual int64_t least_candidates() const { return 1; }
  /// Of the candidates under the weights that they were drawn with: what importance ratios compare with.
  virtual bool needs_old_logprobs() const { return false; }
  /// Of the model that the training began with, without what rewards take of it.
  virtual bool needs_reference() const { return false; }
  /// A value head is learned beside the policy, and advantages are those of tokens (rl/returns.h).
  virtual bool needs_values() const { return false; }
  virtual PolicyLoss loss(const ScoredCandidates& candidates) const = 0;
  /// What PolicyLoss::weight comes to over a batch of so many.
  virtual double weight_of(int64_t inputs, int64_t candidates, int64_t tokens) const = 0;
};

struct AlgorithmType {
  static const char* kind() { return "algorithm"; }
  std::string paper;
  std::function<std::unique_ptr<Algorithm>()> make;
};

/// "name  paper" lines for --list-algorithms.
std::string list_algorithms();

/// Sums of [M] over the tokens of each candidate [N].
at::Tensor sum_by_candidate(const at::Tensor& values, const std::vector<int64_t>& lengths);
/// A value of each candidate [N] for each of its tokens [M].
at::Tensor spread_to_tokens(const at::Tensor& values, const std::vector<int64_t>& lengths);

/// How candidates are weighted that another distribution than the model's was asked for (a temperature, truncation).
struct ImportanceOptions {
  double clip = 0;  ///< weights p / q up to this; 0: all are 1, as in the published codes
  void declare(Options& options);  ///< "algorithm.importance-clip"
  /// min(exp(log p - log q), clip) [N], without graph.
  at::Tensor weights(const ScoredCandidates& candidates) const;
};

// The losses as functions.

/// -sum_i w_i A_i log p(y_i | x_i), over N: REINFORCE (Williams, 1992).
PolicyLoss reinforce_loss(const ScoredCandidates& candidates, const at::Tensor& weights);
/// -sum_x sum_i Q_i A_i with Q = softmax over the candidates of x of alpha log p, over inputs: minimum risk training (Shen et al., 2016, eq. 11 to 13). Its gradient is
/// -alpha sum_i Q_i (A_i - sum_j Q_j A_j) d log p_i: a constant does nothing.
PolicyLoss mrt_loss(const ScoredCandidates& candidates, double alpha);

}  // namespace seqmill::rl
