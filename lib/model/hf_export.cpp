#include "model/hf_export.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "infer/llama_options.h"
#include "infer/lm_engine.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "io/run_dir.h"
#include "model/adapters.h"
#include "model/lm_load.h"

namespace seqmill::model {
namespace {

/// The options of a model that transformers have a shape for.
infer::LlamaOptions exportable_options(const infer::ModelConfig& config) {
  if (config.type != "llama") fail("{}: models of type {} are none that transformers know", config.file, config.type);
  infer::LlamaOptions options;
  std::string type;
  config.apply([&](Options& declared) {
    declared.add("model.type", type, "Architecture");
    options.declare(declared);
  });
  const auto expect = [&](const char* key, const std::string& found, const char* needed) {
    if (found != needed) fail("{}: {} is {}, Hugging Face's shapes have {}: the model cannot be exported", config.file, key, found, needed);
  };
  expect("model.norm", options.norm, "rms");
  expect("model.positions", options.positions, "rotary");
  expect("model.activation", options.activation, "swiglu");
  expect("model.attention", options.attention, "softmax");
  if (options.sees_all()) fail("{}: transformers have no such model that sees whole texts (model.context full)", config.file);
  if (options.qkv_bias && options.window > 0) fail("{}: transformers have no model with both qkv biases and a window in all layers", config.file);
  if (config.pooling != infer::Pooling::kLast) fail("{}: transformers read scores at the last token, and this reward model has pool: mean", config.file);
  return infer::with_options_of(config.file, [&] { return options.resolve(); });
}

io::Json rope_scaling(const infer::RopeOptions& rope) {
  if (rope.scaling == "none") return nullptr;
  io::Json json = io::Json::object();
  json.set("rope_type", rope.scaling);
  json.set("factor", rope.factor);
  if (rope.scaling == "linear") return json;
  json.set("low_freq_factor", rope.low_factor);
  json.set("high_freq_factor", rope.high_factor);
  json.set("original_max_position_embeddings", rope.original_positions);
  return json;
}

/// The symbols that another's configuration names, which may be several, and may be others than the tokeniser's.
void keep_symbols(const std::string& directory, io::Json& json) {
  const std::string theirs = directory + "/config.json";
  if (!std::filesystem::exists(theirs)) return;
  const io::Json config = io::read_json(theirs, io::LargeIntegers::kRound);
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    if (const io::Json* ids = config.find(key)) json.set(key, *ids);
  }
}

/// What the scores of a reward model are about.
io::Json labels_of(const LoadedLm& loaded) {
  io::Json labels = io::Json::object();
  for (int64_t i = 0; i < loaded.score_head.size(0); ++i) {
    const auto at = static_cast<size_t>(i);
    labels.set(fmt::format("{}", i), at < loaded.config.aspects.size() ? loaded.config.aspects[at] : fmt::format("LABEL_{}", i));
  }
  return labels;
}

io::Json config_of(const infer::LlamaOptions& o, const LoadedLm& loaded, const std::string& directory, const std::string& stored) {
  const bool windowed = o.window > 0, scores = loaded.score_head.defined();
  io::Json json = io::Json::object();
  const std::string family = o.qkv_bias ? "Qwen2" : windowed ? "Mistral" : "Llama";
  json.set("architectures", io::Json::list(std::vector<std::string>{family + (scores ? "ForSequenceClassification" : "ForCausalLM")}));
  if (scores) json.set("id2label", labels_of(loaded));
  json.set("model_type", o.qkv_bias ? "qwen2" : windowed ? "mistral" : "llama");
  json.set("vocab_size", loaded.model->output_layer().weight.size(0));
  json.set("hidden_size", o.dim);
  json.set("intermediate_size", o.ffn);
  json.set("num_hidden_layers", o.layers);
  json.set("num_attention_heads", o.heads);
  json.set("num_key_value_heads", o.kv_heads);
  json.set("head_dim", o.head_dim);
  json.set("max_position_embeddings", o.max_positions);
  json.set("rms_norm_eps", o.norm_epsilon);
  json.set("rope_theta", o.rope.theta);
  json.set("rope_scaling", rope_scaling(o.rope));
  json.set("hidden_act", "silu");
  json.set("tie_word_embeddings", o.tie);
  if (!o.qkv_bias) json.set("attention_bias", false);
  if (windowed) json.set("sliding_window", o.window);
  if (o.qkv_bias) json.set("use_sliding_window", false);
  json.set("torch_dtype", stored == "bf16" ? "bfloat16" : "float32");
  json.set("bos_token_id", loaded.tokenizer->bos() >= 0 ? io::Json(static_cast<int64_t>(loaded.tokenizer->bos())) : io::Json());
  json.set("eos_token_id", static_cast<int64_t>(loaded.tokenizer->eos()));
  keep_symbols(directory, json);
  // Ours alone, which transformers pass over: what to frame conversations with.
  const std::string& frame = loaded.config.chat_template;
  if (frame != "plain" && !std::filesystem::exists(frame)) json.set(infer::kChatTemplateKey, frame);
  return json;
}

}  // namespace

void check_exportable(const infer::ModelConfig& config) { exportable_options(config); }

void export_hf(const std::string& path, const std::string& directory, const std::string& stored) {
  if (io::is_directory(directory)) fail("{} exists; export to another directory or remove it", directory);
  const io::ModelFiles files = io::find_model(path);
  const infer::LlamaOptions options = exportable_options(infer::read_model_config(files.config));
  const LoadedLm loaded = load_lm(path);
  if (!loaded.estimator.empty()) fail("{} is a learned metric, which transformers have no shape for: it cannot be exported", path);
  std::vector<tensor::NamedTensor> tensors = merge_adapters(loaded.model->parameters().named(), adapter_scale(loaded.config));
  if (loaded.score_head.defined()) {
    // Theirs have no output layer beside it.
    tensors.erase(std::remove_if(tensors.begin(), tensors.end(), [](const tensor::NamedTensor& named) { return named.first == "lm_head.weight"; }), tensors.end());
    tensors.emplace_back(infer::kScoreHead, loaded.score_head);
  }
  if (stored == "bf16") {
    for (auto& [name, value] : tensors) value = value.to(at::kBFloat16);
  }
  io::write_directory(directory, [&](const std::string& made) {
    io::write_file(made + "/config.json", config_of(options, loaded, files.directory, stored).dump_pretty() + "\n");
    tensor::save_tensors(made + "/model.safetensors", tensors, {{"format", "pt"}});
    for (const std::string& name : io::model_companions(files.directory)) {
      if (name == "config.yaml" || name == "config.json") continue;
      io::write_file(made + "/" + (name == "vocab.spm" ? "tokenizer.model" : name), io::read_file(files.directory + "/" + name));
    }
  });
}

}  // namespace seqmill::model
