#pragma once
// Low-rank adapters among the tensors of a file (nn::LoraSettings): "q_proj.lora_a.weight" and "q_proj.lora_b.weight" beside "q_proj.weight".

#include <string>
#include <vector>

#include "infer/model_config.h"
#include "tensor/weights.h"

namespace seqmill::model {

bool is_adapter(const std::string& name);

/// alpha / rank, as the configuration says; 0 without adapters.
double adapter_scale(const infer::ModelConfig& config);

/// The tensors but the adapters, to which these are added: W + scale B A. What has none is the same tensor.
std::vector<tensor::NamedTensor> merge_adapters(const std::vector<tensor::NamedTensor>& tensors, double scale);

}  // namespace seqmill::model
