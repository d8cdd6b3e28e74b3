#include "tensor/average.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"

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

std::vector<std::string> newest_checkpoints(const std::string& run, int64_t count) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(run) / "ckpt", ignored)) {
    const std::string weights = (entry.path() / "model.safetensors").string();
    if (starts_with(entry.path().filename().string(), "step-") && fs::exists(weights)) files.push_back(weights);
  }
  std::sort(files.begin(), files.end());
  if (static_cast<int64_t>(files.size()) < count) {
    fail("{} holds {} checkpoints, {} are to be averaged; train with --keep-last {} or more", run, files.size(), count, count);
  }
  return {files.end() - count, files.end()};
}

}  // namespace seqmill::tensor
