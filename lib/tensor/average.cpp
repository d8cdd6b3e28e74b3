#include "tensor/average.h"

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

}  // namespace seqmill::tensor
