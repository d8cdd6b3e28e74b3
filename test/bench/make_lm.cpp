// Writes a model directory of random weights as Hugging Face has Llamas: config.json, model.safetensors in bfloat16, tokenizer.json of bytes and pairs of them.
// usage: make-lm DIR VOCABULARY DIM FFN LAYERS HEADS KV_HEADS POSITIONS
// TinyLlama's shape: make-lm DIR 32000 2048 5632 22 32 4 2048

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/output.h"
#include "io/safetensors.h"
#include "text/byte_pairs.h"

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

/// Of `size` tokens: bytes, pairs of bytes, and what ends a text.
io::Json tokenizer(int64_t size) {
  io::JsonObject vocabulary;
  io::Json merges = io::Json::array();
  const auto spelled = [](int64_t byte) { return text::spelling_of_byte(static_cast<unsigned char>(byte)); };
  for (int64_t byte = 0; byte < 256; ++byte) vocabulary.emplace_back(spelled(byte), byte);
  for (int64_t id = 256; id < size - 1; ++id) {
    const std::string left = spelled((id - 256) / 256), right = spelled((id - 256) % 256);
    vocabulary.emplace_back(left + right, id);
    merges.push_back(left + " " + right);
  }
  const io::Json end = io::JsonObject{{"id", size - 1},  {"content", "<|end_of_text|>"}, {"single_word", false}, {"lstrip", false},
                                      {"rstrip", false}, {"normalized", false},          {"special", true}};
  const io::Json byte_level = io::JsonObject{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const io::Json model = io::JsonObject{{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}};
  return io::JsonObject{{"version", "1.0"}, {"added_tokens", io::JsonArray{end}}, {"pre_tokenizer", byte_level}, {"decoder", byte_level}, {"model", model}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) {
    fmt::print(stderr, "usage: make-lm DIR VOCABULARY DIM FFN LAYERS HEADS KV_HEADS POSITIONS\n");
    return 2;
  }
  const std::string directory = argv[1];
  int64_t size[7];
  for (int i = 0; i < 7; ++i) size[i] = std::atoll(argv[i + 2]);
  if (size[0] < 258 || size[0] > 65536 || *std::min_element(size + 1, size + 7) < 1 || size[1] % size[4] != 0) {
    fmt::print(stderr, "make-lm: a vocabulary of 258 to 65536 tokens and sizes that go together are needed\n");
    return 2;
  }
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
    const io::Json config = io::JsonObject{{"model_type", "llama"},           {"vocab_size", vocabulary},        {"hidden_size", dim},
                                           {"intermediate_size", ffn},        {"num_hidden_layers", layers},     {"num_attention_heads", heads},
                                           {"num_key_value_heads", kv_heads}, {"max_position_embeddings", positions}, {"rms_norm_eps", 1e-5}};
    io::write_file(directory + "/config.json", config.dump_pretty() + "\n");
    io::write_file(directory + "/tokenizer.json", tokenizer(vocabulary).dump() + "\n");
  } catch (const Error& error) {
    fmt::print(stderr, "make-lm: {}\n", error.what());
    return 1;
  }
}
