#pragma once
// Decoder-only Transformers of the Llama family (Touvron et al., 2023, "LLaMA: Open and Efficient Foundation Language Models"; Jiang et al., 2023, "Mistral 7B";
// Qwen2, 2024), and those of other norms, activations and positions made of the same parts: what their config.yaml says, for training and for the engine.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/rope.h"
#include "infer/transformer_options.h"

namespace seqmill::infer {

/// Low-rank adapters (Hu et al., 2022, "LoRA"): W x + alpha / rank B A x, W being fixed.
struct LoraOptions {
  int64_t rank = 0;  ///< 0: none
  double alpha = 16;
  std::vector<std::string> targets{"q_proj", "v_proj"};
};

struct LlamaOptions {
  int64_t dim = 512, ffn = 1376, heads = 8, layers = 6, max_positions = 1024;
  int64_t vocabulary = 0; ///< rows of the embedding; 0: as many as the tokeniser has tokens
  int64_t kv_heads = 0;   ///< 0: as many as heads
  int64_t head_dim = 0;   ///< 0: dim / heads
  int64_t window = 0;     ///< a token sees so many, itself included; 0: all before it
  std::string norm = "rms", positions = "rotary", activation = "swiglu";
  double norm_epsilon = 1e-5;
  RopeOptions rope;
  std::string context = "past";  ///< of an encoder "full": a token sees all tokens of its text, not only those before it
  bool tie = false;       ///< output layer = embedding
  bool qkv_bias = false;
  double dropout = 0, attention_dropout = 0, activation_dropout = 0;
  std::string attention = "softmax";
  PolynomialOptions polynomial{3};  ///< of attention "polynomial"
  LoraOptions lora;

  void declare(Options& options);
  /// With 0 replaced by what it stands for. Throws a usage error for options that do not go together.
  LlamaOptions resolve() const;
  /// Rows of the embedding for a tokeniser of so many tokens. Throws a usage error when it has more of them than the embedding has rows.
  int64_t rows(int64_t tokens) const;
  bool sees_all() const { return context == "full"; }
  int64_t query_width() const { return heads * head_dim; }   ///< of resolved options
  int64_t key_width() const { return kv_heads * head_dim; }  ///< likewise
};

/// What a model of these options is, without loading it.
struct LlamaSize {
  int64_t parameters = 0;     ///< without adapters
  int64_t adapters = 0;       ///< parameters of them
  int64_t cache_numbers = 0;  ///< keys and values of one token
};
LlamaSize size_of(const LlamaOptions& resolved, int64_t rows);

}  // namespace seqmill::infer
