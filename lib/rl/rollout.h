#pragma once
// From inputs to what an update learns of: candidates, rewards, advantages (ESRL, one update: steps 2 to 7).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "io/json.h"
#include "rl/advantages.h"
#include "rl/algorithm.h"
#include "rl/capability.h"
#include "rl/inputs.h"
#include "rl/policy.h"
#include "rl/reward.h"
#include "rl/sampler.h"
#include "train/ranks.h"

namespace seqmill::rl {

struct RolloutOptions {
  int64_t candidates = 5;      ///< of an input, where their number does not follow of capability
  double temperature = 1;      ///< likewise
  DynamicSampling dynamic;
  AdvantageOptions advantage;
  double eliminate = 0;        ///< share of the inputs that is dropped before anything is drawn for them
  std::string eliminate_by = "capability";  ///< capability (the highest are dropped), random (the control)
  double kl_weight = 0;        ///< of the divergence from the reference model in rewards: of the whole, or with values of each token
  bool kl_one_sided = false;   ///< what is less probable than under the reference model gains nothing
  double gamma = 1, lambda = 0.95;  ///< of values (rl/returns.h)

  void declare(Options& options);
  void check() const;
};

/// What became of one input.
struct RolledOut {
  size_t input = 0;             ///< its place in the data
  double capability = 0, temperature = 1;
  Candidates candidates;
  std::vector<std::string> texts;  ///< and `logprobs`, the model's own, as it was sampled: for a dump, and not kept with a checkpoint
  std::vector<double> logprobs;
  std::vector<int64_t> lengths;  ///< without what ends them
  std::vector<double> rewards;   ///< of each candidate, as the rewards say
  std::vector<double> by_reward; ///< of each reward by itself the mean over candidates
  std::vector<double> drawn;     ///< log-probability that each was drawn with
  std::vector<double> advantages;  ///< of each candidate; with values of each token
  // Of each token, where the algorithm needs them.
  std::vector<double> old_logprobs, reference_logprobs, old_values, returns;
  double baseline = 0;          ///< of the rollout, averaged over inputs
  double entropy = 0;           ///< mean over the steps of all candidates, in nats
  double divergence = 0;        ///< mean over the tokens of log p - log p_reference

  io::Json to_json() const;
  static RolledOut from_json(const io::Json& json);
};

/// One hypotheses record of it, for a dump of candidates: {id, source|prompt, references, hypotheses: [{text, length, logprob, drawn-logprob, scores: {reward}}], ...}.
io::Json record_of(const RolledOut& rolled_out, const Input& input);

class Rollout {
 public:
  /// All must outlive it. `reference` may be null.
  Rollout(Sampler& sampler, RewardSum& rewards, const Policy& policy, const Policy* reference, const Algorithm& algorithm, const RolloutOptions& options, uint64_t seed, int threads);

  /// Of these inputs of the data; `number` is that of the draw, which names its random numbers: another one each time. Every rank calls it with inputs of its own: the queue of rewards is one.
  std::vector<RolledOut> run(const std::vector<Input>& data, const std::vector<int64_t>& items, int64_t number, train::Ranks& ranks);

  /// Greedy outputs with their rewards, without touching the queue.
  std::vector<double> greedy_rewards(const std::vector<Input>& data, const std::vector<int64_t>& items, std::vector<std::string>* texts);

  io::Json state() const { return queue_.to_json(); }
  void set_state(const io::Json& json) { queue_.set(json); }

 private:
  struct Probe;
  std::vector<Probe> probe(const std::vector<Input>& data, const std::vector<int64_t>& items, int64_t number);
  void sample(const std::vector<Input>& data, std::vector<RolledOut>& all, int64_t number);
  void score_tokens(std::vector<RolledOut>& all) const;
  void find_advantages(std::vector<RolledOut>& all, const std::vector<Probe>& probes, train::Ranks& ranks);
  RewardTotals rewards_of(const std::vector<Question>& questions);

  Sampler& sampler_;
  RewardSum& rewards_;
  const Policy& policy_;
  const Policy* const reference_;
  const Algorithm& algorithm_;
  const RolloutOptions options_;
  const uint64_t seed_;
  const int threads_;
  RewardQueue queue_;
};

}  // namespace seqmill::rl
