#include "rl/algorithm.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace seqmill::rl {
namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values, const at::Tensor& like) { return at::tensor(values, at::kLong).to(like.device()); }

}  // namespace

at::Tensor sum_by_candidate(const at::Tensor& values, const std::vector<int64_t>& lengths) {
  const at::Tensor owners = at::repeat_interleave(to_tensor(lengths, values));
  return at::zeros({static_cast<int64_t>(lengths.size())}, values.options().requires_grad(false)).index_add(0, owners, values);
}

at::Tensor spread_to_tokens(const at::Tensor& values, const std::vector<int64_t>& lengths) { return at::repeat_interleave(values, to_tensor(lengths, values), 0); }

void ImportanceOptions::declare(Options& options) {
  options.add("algorithm.importance-clip", clip,
              "Candidates count p / q of what they were drawn with (temperature, truncation), up to this; 0: all alike, as in published code, whose gradient is that of another distribution then")
      .range(0);
}

at::Tensor ImportanceOptions::weights(const ScoredCandidates& candidates) const {
  const at::Tensor logprobs = sum_by_candidate(candidates.logprobs.detach(), candidates.lengths);
  if (clip == 0) return at::ones_like(logprobs);
  return at::exp(logprobs - candidates.drawn.to(logprobs.options())).clamp_max(clip);
}

PolicyLoss reinforce_loss(const ScoredCandidates& candidates, const at::Tensor& weights) {
  const at::Tensor logprobs = sum_by_candidate(candidates.logprobs, candidates.lengths);
  const at::Tensor factors = weights.to(logprobs.options()) * candidates.advantages.to(logprobs.options());
  return {-(factors.detach() * logprobs).sum(), static_cast<double>(candidates.count())};
}

PolicyLoss mrt_loss(const ScoredCandidates& candidates, double alpha) {
  const at::Tensor logprobs = sum_by_candidate(candidates.logprobs, candidates.lengths), advantages = candidates.advantages.to(logprobs.options());
  at::Tensor sum = at::zeros({}, logprobs.options().requires_grad(false));
  int64_t first = 0;
  for (const int64_t count : candidates.groups) {
    const at::Tensor shares = at::softmax(alpha * logprobs.narrow(0, first, count), 0);
    sum = sum - (shares * advantages.narrow(0, first, count)).sum();
    first += count;
  }
  return {sum, static_cast<double>(candidates.groups.size())};
}

std::string list_algorithms() {
  std::string lines;
  for (const std::string& name : Registry<AlgorithmType>::instance().names()) lines += fmt::format("{:<14} {}\n", name, Registry<AlgorithmType>::instance().get(name).paper);
  return lines;
}

}  // namespace seqmill::rl
