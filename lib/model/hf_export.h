#pragma once
// Models as directories that Hugging Face's transformers read.

#include <string>

#include "infer/model_config.h"

namespace seqmill::model {

/// Throws Error for a model that is no Llama, Mistral or Qwen2, by its configuration alone.
void check_exportable(const infer::ModelConfig& config);

/// Writes the model at `path` as config.json, model.safetensors and tokeniser, adapters merged; `stored`: numbers in "f32" or "bf16". The directory must not exist: it appears
/// when it is complete. Throws Error for what check_exportable() refuses.
void export_hf(const std::string& path, const std::string& directory, const std::string& stored = "f32");

}  // namespace seqmill::model
