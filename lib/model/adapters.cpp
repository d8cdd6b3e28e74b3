#include "model/adapters.h"

#include <map>

#include "base/strings.h"

namespace seqmill::model {

using tensor::NamedTensor;

bool is_adapter(const std::string& name) { return name.find(".lora_") != std::string::npos; }

double adapter_scale(const infer::ModelConfig& config) {
  double rank = 0, alpha = 16;
  for (const io::ConfigEntry& entry : config.entries) {
    if (entry.key == "lora.rank") parse_double(entry.values.at(0), rank);
    if (entry.key == "lora.alpha") parse_double(entry.values.at(0), alpha);
  }
  return rank > 0 ? alpha / rank : 0;
}

std::vector<NamedTensor> merge_adapters(const std::vector<NamedTensor>& tensors, double scale) {
  const std::string end = ".weight";
  std::map<std::string, at::Tensor> adapters;
  for (const auto& [name, value] : tensors) {
    if (is_adapter(name)) adapters.emplace(name, value);
  }
  std::vector<NamedTensor> merged;
  for (const auto& [name, value] : tensors) {
    if (is_adapter(name)) continue;
    const std::string matrix = ends_with(name, end) ? name.substr(0, name.size() - end.size()) : name;
    const auto a = adapters.find(matrix + ".lora_a.weight"), b = adapters.find(matrix + ".lora_b.weight");
    const bool adapted = a != adapters.end() && b != adapters.end();
    merged.emplace_back(name, adapted ? value + at::matmul(b->second, a->second) * scale : value);
  }
  return merged;
}

}  // namespace seqmill::model
