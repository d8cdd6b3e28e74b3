#include "align/objective.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "base/log.h"

namespace seqmill::align {

ScoredPairs pairs_of(const ScoredBatch& batch) {
  std::vector<int64_t> better, worse, owners;
  std::vector<float> shares, margins;
  int64_t first = 0;
  for (size_t c = 0; c < batch.judged.size(); ++c) {
    const Judged& judged = *batch.judged[c];
    for (const text::Preference& pair : judged.pairs) {
      better.push_back(first + static_cast<int64_t>(pair.better));
      worse.push_back(first + static_cast<int64_t>(pair.worse));
      owners.push_back(static_cast<int64_t>(c));
      shares.push_back(1 / static_cast<float>(judged.pairs.size()));
      margins.push_back(static_cast<float>(pair.margin));
    }
    first += batch.counts[c];
  }
  const at::Device device = batch.scores.device();
  const at::Tensor scores = batch.scores.select(1, 0);
  const auto rows = [&](const std::vector<int64_t>& index) { return scores.index_select(0, at::tensor(index, at::kLong).to(device)); };
  const auto reals = [&](const std::vector<float>& values) { return at::tensor(values, at::kFloat).to(device); };
  return {rows(better) - rows(worse), reals(shares), at::tensor(owners, at::kLong).to(device), reals(margins)};
}

at::Tensor mean_by_comparison(const ScoredBatch& batch, const ScoredPairs& pairs, const at::Tensor& values) {
  const at::Tensor zeros = at::zeros({static_cast<int64_t>(batch.judged.size())}, values.options().requires_grad(false));
  return zeros.index_add(0, pairs.owners, values * pairs.shares.to(values.scalar_type()));
}

void Smoothing::declare(Options& options) {
  options.add("objective.eps", eps, "Label smoothing: the weight of the wrong outcome (GRAM's epsilon)").range(0, 0.5);
  options.add("objective.label-smoothing", alpha, "The same as libraries say it: spread over both outcomes, so twice as much").range(0, 1);
}

void Smoothing::check() const {
  if (eps > 0 && alpha > 0) fail_usage("give --objective.eps or --objective.label-smoothing, not both: they are two ways to say the same");
  if (weight() > 0) log::info("label smoothing: eps {} of the wrong outcome, which is label-smoothing {}", weight(), 2 * weight());
}

}  // namespace seqmill::align
