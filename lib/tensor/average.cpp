#include "tensor/average.h"

#include <map>

#include "base/error.h"

namespace seqmill::tensor {

std::vector<NamedTensor> average_weights(const std::vector<std::string>& files) {
  if (files.empty()) fail("no checkpoints to average");
  std::vector<NamedTensor> sum;
  for (const std::string& file : files) {
    const std::vector<NamedTensor> weights = load_tensors(file);
    if (&file == &files.front()) {
      for (const auto& [name, value] : weights) sum.emplace_back(name, value.to(at::kDouble));
      continue;
    }
    bool same = weights.size() == sum.size();
    for (size_t i = 0; same && i < sum.size(); ++i) {
      same = weights[i].first == sum[i].first && weights[i].second.sizes() == sum[i].second.sizes();
      if (same) sum[i].second.add_(weights[i].second);
    }
    if (!same) fail("{} and {} hold different models and cannot be averaged", files.front(), file);
  }
  for (auto& [name, value] : sum) value = value.div_(static_cast<double>(files.size())).to(at::kFloat);
  return sum;
}

void load_average(const std::string& run, const std::vector<std::string>& files, const std::vector<NamedTensor>& targets) {
  at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> mean;
  for (auto& [name, value] : average_weights(files)) mean.emplace(name, value);
  for (const auto& [name, target] : targets) {
    const auto found = mean.find(name);
    if (found == mean.end() || found->second.sizes() != target.sizes()) fail("the newest checkpoints of {} have no {} of that shape: they are of another model", run, name);
    at::Tensor into = target;
    into.copy_(found->second);
  }
}

}  // namespace seqmill::tensor
