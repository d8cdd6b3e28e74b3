#include "model/lm_load.h"

#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/output.h"
#include "io/line_reader.h"
#include "io/safetensors.h"
#include "tensor/average.h"
#include "tensor/weights.h"

namespace seqmill::model {
namespace {

using tensor::NamedTensor;

constexpr const char* kLoraA = ".lora_a.weight";
constexpr const char* kLoraB = ".lora_b.weight";

bool is_adapter(const std::string& name) { return name.find(".lora_") != std::string::npos; }

/// What config.yaml says of the adapters, for those who read the weights alone.
double adapter_scale(const infer::ModelConfig& config) {
  double rank = 0, alpha = 16;
  for (const io::ConfigEntry& entry : config.entries) {
    if (entry.key == "lora.rank") parse_double(entry.values.at(0), rank);
    if (entry.key == "lora.alpha") parse_double(entry.values.at(0), alpha);
  }
  return rank > 0 ? alpha / rank : 0;
}

/// W += alpha / rank B A for every adapter among the tensors, which are left out afterwards.
std::vector<NamedTensor> merge_adapters(std::vector<NamedTensor> tensors, double scale) {
  std::map<std::string, at::Tensor> adapters;
  for (const auto& [name, value] : tensors) {
    if (is_adapter(name)) adapters.emplace(name, value);
  }
  std::vector<NamedTensor> merged;
  for (const auto& [name, value] : tensors) {
    if (is_adapter(name)) continue;
    const std::string matrix = ends_with(name, ".weight") ? name.substr(0, name.size() - std::string(".weight").size()) : name;
    const auto a = adapters.find(matrix + kLoraA), b = adapters.find(matrix + kLoraB);
    const bool adapted = a != adapters.end() && b != adapters.end();
    merged.emplace_back(name, adapted ? value + at::matmul(b->second, a->second) * scale : value);
  }
  return merged;
}

std::unique_ptr<LmConfig> configure(const infer::ModelConfig& config) {
  std::string type = config.type;
  std::unique_ptr<LmConfig> model;
  config.apply([&](Options& options) { model = declare_lm(options, type); });
  return model;
}

}  // namespace

std::unique_ptr<Lm> build_lm(const infer::ModelConfig& config, int64_t tokens) {
  return infer::with_options_of(config.file, [&] { return configure(config)->build(tokens, std::nullopt); });
}

LoadedLm load_lm(const std::string& path, int64_t average) {
  const io::ModelFiles files = io::find_model(path);
  LoadedLm loaded;
  loaded.config = infer::read_model_config(files.config);
  loaded.tokenizer = text::load_tokenizer(files.directory);
  loaded.model = build_lm(loaded.config, loaded.tokenizer->size());
  const std::vector<NamedTensor> targets = loaded.model->parameters().named();
  tensor::load_into(files.weights, targets);
  if (average > 0) {
    std::map<std::string, at::Tensor> mean;
    for (auto& [name, value] : tensor::average_weights(io::newest_checkpoints(path, average))) mean.emplace(name, value);
    for (const auto& [name, target] : targets) {
      const auto found = mean.find(name);
      if (found == mean.end() || found->second.sizes() != target.sizes()) fail("the newest checkpoints of {} have no {} of that shape: they are of another model", path, name);
      at::Tensor into = target;
      into.copy_(found->second);
    }
  }
  for (const nn::Parameter& parameter : loaded.model->parameters().all()) parameter.value.set_requires_grad(false);
  return loaded;
}

void initialise_lm_from(const std::string& path, Lm& model, const text::Tokenizer& tokenizer) {
  const io::ModelFiles files = io::find_model(path);
  const std::shared_ptr<const text::Tokenizer> theirs = text::load_tokenizer(files.directory);
  const double scale = adapter_scale(infer::read_model_config(files.config));
  const bool same = text::same_pieces(*theirs, tokenizer);
  std::map<std::string, bool> of_tokens;
  for (const nn::Parameter& parameter : model.parameters().all()) of_tokens[parameter.name] = parameter.rows != nn::Rows::kOther;
  std::vector<NamedTensor> wanted = model.parameters().named();
  const io::WeightFiles file(files.weights);
  bool merges = false;
  for (const io::TensorRecord& record : file.tensors()) {
    const bool known = std::any_of(wanted.begin(), wanted.end(), [&](const NamedTensor& target) { return target.first == record.name; });
    merges = merges || (is_adapter(record.name) && !known);
  }
  std::vector<NamedTensor> targets, adapters;
  for (const NamedTensor& target : wanted) {
    const bool begins_anew = is_adapter(target.first) && (merges || !file.find(target.first));
    const bool foreign = of_tokens[target.first] && !same;
    if (foreign) log::warn("--init-from {}: {} is left, its rows belong to another tokeniser", path, target.first);
    if (!foreign && !begins_anew) targets.push_back(target);
  }
  if (merges) {
    for (const io::TensorRecord& record : file.tensors()) {
      if (is_adapter(record.name)) adapters.emplace_back(record.name, at::empty(record.shape, at::kFloat));
    }
  }
  std::vector<NamedTensor> all = targets;
  all.insert(all.end(), adapters.begin(), adapters.end());
  const tensor::PartialLoad loaded = tensor::load_matching(files.weights, all);
  std::vector<std::string> left;
  for (const std::string& reason : loaded.not_taken) {
    const bool foreign = !same && std::any_of(of_tokens.begin(), of_tokens.end(), [&](const auto& item) { return item.second && starts_with(reason, item.first + ":"); });
    if (!foreign) left.push_back(reason);
  }
  if (!left.empty()) fail("--init-from {} does not fit this model: {}", path, join(left, "; "));
  if (merges) {
    at::NoGradGuard no_grad;
    std::vector<NamedTensor> with_adapters = targets;
    with_adapters.insert(with_adapters.end(), adapters.begin(), adapters.end());
    const std::vector<NamedTensor> merged = merge_adapters(with_adapters, scale);
    for (size_t i = 0; i < targets.size(); ++i) targets[i].second.copy_(merged[i].second);
  }
  log::info("--init-from {}: {} tensors taken{}", path, targets.size(), merges ? fmt::format(", {} adapters merged", adapters.size() / 2) : "");
}

namespace {

/// The options of a model by their keys, with the defaults of its type.
std::map<std::string, std::string> options_of(const infer::ModelConfig& config) {
  Options options;
  std::string type = config.type;
  std::map<std::string, std::string> previews{{"model.type", type}}, values;
  options.set_previews(previews);
  const std::unique_ptr<LmConfig> model = declare_lm(options, type);
  for (const io::ConfigEntry& entry : config.entries) {
    Option* option = options.find(entry.key);
    if (!option) fail("{}: {} models have no option '{}'", config.file, type, entry.key);
    if (const std::string wrong = option->set(entry.values); !wrong.empty()) fail("{}: {}: {}", config.file, entry.key, wrong);
  }
  for (const auto& option : options.all()) {
    const std::vector<std::string> now = option->values();
    values[option->key()] = now.empty() ? "" : now[0];
  }
  return values;
}

class HfExport {
 public:
  HfExport(const std::string& path, Stored stored) : files_(io::find_model(path)), loaded_(load_lm(path)), options_(options_of(loaded_.config)), stored_(stored) {
    expect("model.norm", "rms");
    expect("model.positions", "rotary");
    expect("model.activation", "swiglu");
    expect("model.attention", "softmax");
    if (flag("model.qkv-bias") && whole("model.window") > 0) fail("{}: transformers have no model with both qkv biases and a window in all layers", loaded_.config.file);
  }

  void write(const std::string& directory) const {
    io::write_file(directory + "/config.json", config().dump_pretty() + "\n");
    std::vector<NamedTensor> tensors = merge_adapters(loaded_.model->parameters().named(), adapter_scale(loaded_.config));
    if (stored_ == Stored::kBFloat16) {
      for (auto& [name, value] : tensors) value = value.to(at::kBFloat16);
    }
    tensor::save_tensors(directory + "/model.safetensors", tensors, {{"format", "pt"}});
    for (const std::string& name : io::model_companions(files_.directory)) {
      if (name == "config.yaml" || name == "config.json" || name == "chat.yaml") continue;
      io::write_file(directory + "/" + (name == "vocab.spm" ? "tokenizer.model" : name), io::read_file(files_.directory + "/" + name));
    }
  }

 private:
  io::Json config() const {
    const bool biased = flag("model.qkv-bias"), windowed = whole("model.window") > 0;
    io::Json json = io::Json::object();
    const std::string family = biased ? "qwen2" : windowed ? "mistral" : "llama";
    json.set("architectures", io::Json::list(std::vector<std::string>{biased ? "Qwen2ForCausalLM" : windowed ? "MistralForCausalLM" : "LlamaForCausalLM"}));
    json.set("model_type", family);
    json.set("vocab_size", loaded_.model->output_layer().weight.size(0));
    json.set("hidden_size", whole("model.dim"));
    json.set("intermediate_size", whole("model.ffn"));
    json.set("num_hidden_layers", whole("model.layers"));
    const int64_t heads = whole("model.heads"), kv_heads = whole("model.kv-heads"), head_dim = whole("model.head-dim");
    json.set("num_attention_heads", heads);
    json.set("num_key_value_heads", kv_heads > 0 ? kv_heads : heads);
    json.set("head_dim", head_dim > 0 ? head_dim : whole("model.dim") / heads);
    json.set("max_position_embeddings", whole("model.max-positions"));
    json.set("rms_norm_eps", real("model.norm-epsilon"));
    json.set("rope_theta", real("model.rope-theta"));
    json.set("rope_scaling", rope_scaling());
    json.set("hidden_act", "silu");
    json.set("tie_word_embeddings", flag("model.tie"));
    if (!biased) json.set("attention_bias", false);
    if (windowed) json.set("sliding_window", whole("model.window"));
    if (biased) json.set("use_sliding_window", false);
    json.set("torch_dtype", stored_ == Stored::kBFloat16 ? "bfloat16" : "float32");
    json.set("bos_token_id", loaded_.tokenizer->bos() >= 0 ? io::Json(static_cast<int64_t>(loaded_.tokenizer->bos())) : io::Json());
    json.set("eos_token_id", static_cast<int64_t>(loaded_.tokenizer->eos()));
    keep_ids(json);
    return json;
  }

  /// The symbols that another's configuration names, which may be several, and may be others than the tokeniser's.
  void keep_ids(io::Json& json) const {
    const std::string theirs = files_.directory + "/config.json";
    if (!std::filesystem::exists(theirs)) return;
    const io::Json config = io::read_json(theirs, io::LargeIntegers::kRound);
    for (const char* key : {"bos_token_id", "eos_token_id"}) {
      if (const io::Json* ids = config.find(key)) json.set(key, *ids);
    }
  }

  io::Json rope_scaling() const {
    const std::string& kind = options_.at("model.rope-scaling");
    if (kind == "none") return nullptr;
    io::Json json = io::Json::object();
    json.set("rope_type", kind);
    json.set("factor", real("model.rope-factor"));
    if (kind == "linear") return json;
    json.set("low_freq_factor", real("model.rope-low-factor"));
    json.set("high_freq_factor", real("model.rope-high-factor"));
    json.set("original_max_position_embeddings", whole("model.rope-original-positions"));
    return json;
  }

  void expect(const std::string& key, const std::string& value) const {
    if (options_.at(key) != value) fail("{}: {} is {}, Hugging Face's shapes have {}: the model cannot be exported", loaded_.config.file, key, options_.at(key), value);
  }

  int64_t whole(const std::string& key) const {
    int64_t value = 0;
    parse_int(options_.at(key), value);
    return value;
  }
  double real(const std::string& key) const {
    double value = 0;
    parse_double(options_.at(key), value);
    return value;
  }
  bool flag(const std::string& key) const { return options_.at(key) == "true"; }

  io::ModelFiles files_;
  LoadedLm loaded_;
  std::map<std::string, std::string> options_;
  Stored stored_;
};

}  // namespace

void export_hf(const std::string& path, const std::string& directory, Stored stored) {
  if (io::is_directory(directory)) fail("{} exists; export to another directory or remove it", directory);
  const HfExport model(path, stored);
  io::write_directory(directory, [&](const std::string& made) { model.write(made); });
}

}  // namespace seqmill::model
