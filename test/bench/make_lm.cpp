// Writes a model directory of random weights, of the Llama family, in bfloat16: config.yaml and model.safetensors, without a tokeniser.
// usage: make-lm DIR VOCABULARY DIM FFN LAYERS HEADS KV_HEADS POSITIONS
// TinyLlama's shape: make-lm DIR 32000 2048 5632 22 32 4 2048

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "io/directory.h"
#include "io/output.h"
#include "io/safetensors.h"

using namespace seqmill;

namespace {

/// Tensors that share their numbers: parts of one table of random ones, each from a place of its own.
class Maker {
 public:
  explicit Maker(int64_t most) : table_(most + kPlaces) {
    uint32_t state = 1;
    for (int64_t i = 0; i < table_.size(); ++i) {
      state = state * 1664525U + 1013904223U;
      // Sign and fraction at random, magnitudes from 1/64 to 1/32: the deviation of weights of some thousand inputs.
      table_.data()[i] = static_cast<uint16_t>((state >> 16 & 0x807fU) | 0x3c80U);
    }
    ones_.assign(1 << 16, 0x3f80);
  }

  void matrix(const std::string& name, int64_t outputs, int64_t inputs) {
    place_ = (place_ + 9973) % kPlaces;
    records.push_back({name + ".weight", io::DType::kBF16, {outputs, inputs}, table_.data() + place_});
  }
  void norm(const std::string& name, int64_t size) { records.push_back({name + ".weight", io::DType::kBF16, {size}, ones_.data()}); }

  std::vector<io::TensorRecord> records;

 private:
  static constexpr int64_t kPlaces = 1 << 20;
  Buffer<uint16_t> table_;
  std::vector<uint16_t> ones_;
  int64_t place_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) {
    fmt::print(stderr, "usage: make-lm DIR VOCABULARY DIM FFN LAYERS HEADS KV_HEADS POSITIONS\n");
    return 2;
  }
  const std::string directory = argv[1];
  int64_t size[7];
  for (int i = 0; i < 7; ++i) size[i] = std::atoll(argv[i + 2]);
  const auto [vocabulary, dim, ffn, layers, heads, kv_heads, positions] = size;
  const int64_t key_width = dim / heads * kv_heads;
  try {
    Maker maker(std::max(vocabulary, ffn) * dim);
    maker.matrix("model.embed_tokens", vocabulary, dim);
    for (int64_t i = 0; i < layers; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      maker.norm(layer + "input_layernorm", dim);
      maker.matrix(layer + "self_attn.q_proj", dim, dim);
      maker.matrix(layer + "self_attn.k_proj", key_width, dim);
      maker.matrix(layer + "self_attn.v_proj", key_width, dim);
      maker.matrix(layer + "self_attn.o_proj", dim, dim);
      maker.norm(layer + "post_attention_layernorm", dim);
      maker.matrix(layer + "mlp.gate_proj", ffn, dim);
      maker.matrix(layer + "mlp.up_proj", ffn, dim);
      maker.matrix(layer + "mlp.down_proj", dim, ffn);
    }
    maker.norm("model.norm", dim);
    maker.matrix("lm_head", vocabulary, dim);
    io::make_directory(directory);
    io::write_safetensors(directory + "/model.safetensors", maker.records);
    io::write_file(directory + "/config.yaml",
                   fmt::format("model:\n  type: llama\n  dim: {}\n  ffn: {}\n  layers: {}\n  heads: {}\n  kv-heads: {}\n  max-positions: {}\n  vocabulary: {}\n", dim,
                               ffn, layers, heads, kv_heads, positions, vocabulary));
  } catch (const Error& error) {
    fmt::print(stderr, "make-lm: {}\n", error.what());
    return 1;
  }
}
