#pragma once
// Model directories of the models of support/lm.h.

#include <filesystem>
#include <string>

#include "support/files.h"
#include "support/lm.h"
#include "support/tokenizer_files.h"

namespace seqmill::test {

/// With a tokeniser of fewer than 300 tokens.
inline void put_lm_directory(const std::string& directory, const TinyLlama& tiny, io::DType dtype = io::DType::kF32) {
  std::filesystem::create_directory(directory);
  tiny.write(directory + "/model.safetensors", dtype);
  put_byte_level(directory);
  std::string config = "model.type: llama\n";
  infer::LlamaOptions copy = tiny.options;
  if (copy.polynomial.degree == 0) copy.polynomial.degree = 1;
  Options declared;
  copy.declare(declared);
  for (const auto& option : declared.all()) {
    if (!option->is_list()) config += option->key() + ": " + option->values()[0] + "\n";
  }
  put(directory + "/config.yaml", config);
}

}  // namespace seqmill::test
