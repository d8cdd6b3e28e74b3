// config.json of Hugging Face's transformers, for the shapes that are Llamas here: Llama, Llama-2, Llama-3, TinyLlama, Mistral, Qwen2.

#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "infer/model_config.h"
#include "io/json.h"
#include "io/run_dir.h"

namespace seqmill::infer {
namespace {

class HfConfig {
 public:
  explicit HfConfig(const std::string& file) : json_(io::read_json(file, io::LargeIntegers::kRound)) {
    config_.file = file;
    if (!json_.is_object()) fail("{}: expected an object, found {}", file, json_.type_name());
  }

  ModelConfig read() {
    const std::string family = text("model_type", "");
    if (family != "llama" && family != "mistral" && family != "qwen2") {
      fail("{}: model_type '{}' is not supported; known: llama, mistral, qwen2", config_.file, family);
    }
    config_.type = "llama";
    add("model.type", "llama");
    copy("model.vocabulary", "vocab_size");
    copy("model.dim", "hidden_size");
    copy("model.ffn", "intermediate_size");
    copy("model.layers", "num_hidden_layers");
    copy("model.heads", "num_attention_heads");
    add("model.kv-heads", fmt::format("{}", whole("num_key_value_heads", whole("num_attention_heads"))));
    if (given("head_dim")) copy("model.head-dim", "head_dim");
    copy("model.max-positions", "max_position_embeddings");
    add("model.norm-epsilon", format_double(real(json_, "rms_norm_eps", 1e-6)));
    add("model.tie", flag("tie_word_embeddings", false) ? "true" : "false");
    add("model.qkv-bias", family == "qwen2" ? "true" : "false");
    read_rope();
    read_window(family);
    refuse_others(family);
    config_.chat_template = guess_template();
    return std::move(config_);
  }

 private:
  void read_rope() {
    // From transformers 5 on all of it is one object.
    const io::Json* rope = find("rope_parameters");
    if (!rope) rope = find("rope_scaling");
    const double theta = real(json_, "rope_theta", 10000);
    add("model.rope-theta", format_double(rope ? real(*rope, "rope_theta", theta) : theta));
    if (!rope) return;
    if (!rope->is_object()) fail("{}: rope_scaling is {}, expected an object or null", config_.file, rope->type_name());
    const io::Json* kind = rope->find("rope_type");
    if (!kind) kind = rope->find("type");
    const std::string name = kind && kind->is_string() ? kind->as_string() : "";
    if (name == "default") return;
    if (name != "linear" && name != "llama3") fail("{}: rope_scaling of type '{}' is not supported; known: linear, llama3", config_.file, name);
    add("model.rope-scaling", name);
    add("model.rope-factor", format_double(real(*rope, "factor", 1)));
    if (name == "linear") return;
    add("model.rope-low-factor", format_double(real(*rope, "low_freq_factor", 1)));
    add("model.rope-high-factor", format_double(real(*rope, "high_freq_factor", 4)));
    add("model.rope-original-positions", fmt::format("{}", static_cast<int64_t>(real(*rope, "original_max_position_embeddings", 8192))));
  }

  void read_window(const std::string& family) {
    if (family == "llama" || !given("sliding_window")) return;
    if (family == "qwen2") {
      if (!flag("use_sliding_window", false)) return;
      // The first so many layers see everything.
      const int64_t whole_layers = whole("max_window_layers", 28);
      if (whole_layers >= whole("num_hidden_layers")) return;
      if (whole_layers > 0) fail("{}: a window in layers {} and up alone (max_window_layers) is not supported", config_.file, whole_layers);
    }
    copy("model.window", "sliding_window");
  }

  void refuse_others(const std::string& family) {
    const std::string activation = text("hidden_act", "silu");
    if (activation != "silu") fail("{}: hidden_act '{}' is not supported; known: silu", config_.file, activation);
    if (family != "qwen2" && flag("attention_bias", false)) fail("{}: attention_bias (of the output too) is not supported", config_.file);
    if (flag("mlp_bias", false)) fail("{}: mlp_bias is not supported", config_.file);
    if (find("quantization_config")) fail("{}: weights that are quantised by others (quantization_config) are not supported", config_.file);
  }

  /// Its Jinja program is not run: what frames messages tells which of the known ones it is.
  std::string guess_template() const {
    const std::filesystem::path folder = std::filesystem::path(config_.file).parent_path();
    if (std::filesystem::exists(folder / io::kChatTemplateFile)) return (folder / io::kChatTemplateFile).string();
    if (given(infer::kChatTemplateKey)) return text(infer::kChatTemplateKey, "");
    const std::string beside = (folder / "tokenizer_config.json").string();
    if (!std::filesystem::exists(beside)) return "plain";
    const io::Json json = io::read_json(beside, io::LargeIntegers::kRound);
    const io::Json* jinja = json.is_object() ? json.find("chat_template") : nullptr;
    if (!jinja || !jinja->is_string()) return "plain";
    const auto holds = [&](const char* mark) { return jinja->as_string().find(mark) != std::string::npos; };
    return holds("<|im_start|>") ? "chatml" : holds("<|start_header_id|>") ? "llama-3" : holds("[INST]") ? "llama-2" : "plain";
  }

  const io::Json* find(const char* key) const {
    const io::Json* found = json_.find(key);
    return found && !found->is_null() ? found : nullptr;
  }
  bool given(const char* key) const { return find(key) != nullptr; }

  int64_t whole(const char* key) const {
    const io::Json* found = find(key);
    if (!found) fail("{}: {} is missing", config_.file, key);
    if (!found->is_int()) fail("{}: {} is {}, expected an integer", config_.file, key, found->type_name());
    return found->as_int();
  }
  int64_t whole(const char* key, int64_t otherwise) const { return given(key) ? whole(key) : otherwise; }

  double real(const io::Json& object, const char* key, double otherwise) const {
    const io::Json* found = object.find(key);
    if (!found || found->is_null()) return otherwise;
    if (!found->is_number()) fail("{}: {} is {}, expected a number", config_.file, key, found->type_name());
    return found->as_double();
  }

  bool flag(const char* key, bool otherwise) const {
    const io::Json* found = find(key);
    if (!found) return otherwise;
    if (!found->is_bool()) fail("{}: {} is {}, expected true or false", config_.file, key, found->type_name());
    return found->as_bool();
  }

  std::string text(const char* key, const std::string& otherwise) const {
    const io::Json* found = find(key);
    if (!found) return otherwise;
    if (!found->is_string()) fail("{}: {} is {}, expected a string", config_.file, key, found->type_name());
    return found->as_string();
  }

  void copy(const char* key, const char* theirs) { add(key, fmt::format("{}", whole(theirs))); }

  void add(const std::string& key, const std::string& value) {
    io::ConfigEntry entry;
    entry.key = key;
    entry.values = {value};
    entry.file = config_.file;
    config_.entries.push_back(std::move(entry));
  }

  io::Json json_;
  ModelConfig config_;
};

}  // namespace

ModelConfig read_hf_config(const std::string& file) { return HfConfig(file).read(); }

}  // namespace seqmill::infer
