// config.json of Hugging Face's transformers, for the shapes that are Llamas here: Llama, Llama-2, Llama-3, TinyLlama, Mistral, Qwen2.

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "infer/model_config.h"
#include "io/json.h"
#include "io/line_reader.h"
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
    add("model.kv-heads", fmt::format("{}", whole("num_key_value_heads", whole("num_attention_heads"))), "num_key_value_heads");
    if (given("head_dim")) copy("model.head-dim", "head_dim");
    copy("model.max-positions", "max_position_embeddings");
    add("model.norm-epsilon", format_double(real(json_, "rms_norm_eps", 1e-6)), "rms_norm_eps");
    add("model.tie", flag("tie_word_embeddings", false) ? "true" : "false", "tie_word_embeddings");
    add("model.qkv-bias", family == "qwen2" ? "true" : "false");
    read_rope();
    read_window(family);
    refuse_others(family);
    read_labels();
    config_.chat_template = guess_template();
    return std::move(config_);
  }

 private:
  void read_rope() {
    // From transformers 5 on all of it is one object.
    const io::Json* rope = find("rope_parameters");
    if (!rope) rope = find("rope_scaling");
    if (rope && !rope->is_object()) fail("{}: rope_scaling is {}, expected an object or null", config_.file, rope->type_name());
    const double theta = real(json_, "rope_theta", 10000);
    add("model.rope-theta", format_double(rope ? real(*rope, "rope_theta", theta) : theta), "rope_theta");
    if (!rope) return;
    const io::Json* kind = rope->find("rope_type");
    if (!kind) kind = rope->find("type");
    const std::string name = kind && kind->is_string() ? kind->as_string() : "";
    if (name == "default") return;
    if (name != "linear" && name != "llama3") fail("{}: rope_scaling of type '{}' is not supported; known: linear, llama3", config_.file, name);
    add("model.rope-scaling", name, "rope_scaling");
    add("model.rope-factor", format_double(real(*rope, "factor", 1)), "rope_scaling.factor");
    if (name == "linear") return;
    add("model.rope-low-factor", format_double(real(*rope, "low_freq_factor", 1)), "rope_scaling.low_freq_factor");
    add("model.rope-high-factor", format_double(real(*rope, "high_freq_factor", 4)), "rope_scaling.high_freq_factor");
    const io::Json* original = rope->find("original_max_position_embeddings");
    add("model.rope-original-positions", fmt::format("{}", original ? whole(*original, "rope_scaling.original_max_position_embeddings") : 8192),
        "rope_scaling.original_max_position_embeddings");
  }

  void read_window(const std::string& family) {
    if (family == "llama" || !given("sliding_window")) return;
    // Newer ones say it of each layer.
    if (const io::Json* types = find("layer_types")) {
      if (!types->is_array() || types->as_array().empty()) fail("{}: layer_types is no list of names", config_.file);
      const auto is = [&](const char* name) {
        return std::all_of(types->as_array().begin(), types->as_array().end(), [&](const io::Json& type) { return type.is_string() && type.as_string() == name; });
      };
      if (is("full_attention")) return;
      if (!is("sliding_attention")) fail("{}: layer_types: only layers that are all full_attention or all sliding_attention are supported", config_.file);
      return copy("model.window", "sliding_window");
    }
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

  /// Of a reward model (LlamaForSequenceClassification and the like) the names of its scores, unless they are those that nobody gave.
  void read_labels() {
    const io::Json* architectures = find("architectures");
    const bool classifies = architectures && architectures->is_array() && !architectures->as_array().empty() && architectures->as_array()[0].is_string() &&
                            ends_with(architectures->as_array()[0].as_string(), "ForSequenceClassification");
    const io::Json* labels = find("id2label");
    if (!classifies || !labels) return;
    if (!labels->is_object()) fail("{}: id2label is {}, expected an object", config_.file, labels->type_name());
    std::vector<std::string> names;
    for (size_t i = 0; i < labels->as_object().size(); ++i) {
      const io::Json* name = labels->find(fmt::format("{}", i));
      if (!name || !name->is_string()) fail("{}: id2label has no name for {}", config_.file, i);
      if (name->as_string() == fmt::format("LABEL_{}", i)) return;
      names.push_back(name->as_string());
    }
    config_.aspects = names;
  }

  /// The Jinja program that frames conversations; empty when there is none.
  static std::string jinja_beside(const std::filesystem::path& folder) {
    if (std::filesystem::exists(folder / "chat_template.jinja")) return io::read_file((folder / "chat_template.jinja").string());
    const std::string file = (folder / "tokenizer_config.json").string();
    if (!std::filesystem::exists(file)) return "";
    const io::Json json = io::read_json(file, io::LargeIntegers::kRound);
    const io::Json* jinja = json.is_object() ? json.find("chat_template") : nullptr;
    if (!jinja) return "";
    if (jinja->is_string()) return jinja->as_string();
    if (!jinja->is_array()) return "";
    for (const io::Json& item : jinja->as_array()) {  // of several, by name
      const io::Json *name = item.is_object() ? item.find("name") : nullptr, *text = item.is_object() ? item.find("template") : nullptr;
      if (name && name->is_string() && name->as_string() == "default" && text && text->is_string()) return text->as_string();
    }
    return "";
  }

  /// The program is not run: what it frames messages with tells which of the known ones it is.
  std::string guess_template() const {
    const std::filesystem::path folder = std::filesystem::path(config_.file).parent_path();
    if (std::filesystem::exists(folder / io::kChatTemplateFile)) return (folder / io::kChatTemplateFile).string();
    if (given(infer::kChatTemplateKey)) return text(infer::kChatTemplateKey, "");
    const std::string jinja = jinja_beside(folder);
    if (jinja.empty()) return "plain";
    const auto holds = [&](const char* mark) { return jinja.find(mark) != std::string::npos; };
    if (holds("<|im_start|>")) return "chatml";
    if (holds("<|start_header_id|>")) return "llama-3";
    if (holds("[INST]") && holds("<<SYS>>")) return "llama-2";
    log::warn("{}: its chat template is none of those known here; messages go in as plain text unless a template is named (docs/formats.md#templates)", config_.file);
    return "plain";
  }

  const io::Json* find(const char* key) const {
    const io::Json* found = json_.find(key);
    return found && !found->is_null() ? found : nullptr;
  }
  bool given(const char* key) const { return find(key) != nullptr; }

  int64_t whole(const char* key) const {
    const io::Json* found = find(key);
    if (!found) fail("{}: {} is missing", config_.file, key);
    return whole(*found, key);
  }
  int64_t whole(const io::Json& number, const char* key) const {
    if (!number.is_int()) fail("{}: {} is {}, expected an integer", config_.file, key, number.type_name());
    return number.as_int();
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

  void copy(const char* key, const char* theirs) { add(key, fmt::format("{}", whole(theirs)), theirs); }

  /// `theirs`: what the file calls it, for messages.
  void add(const std::string& key, const std::string& value, const char* theirs = "model_type") {
    io::ConfigEntry entry;
    entry.key = key;
    entry.values = {value};
    entry.file = config_.file + ": " + theirs;
    config_.entries.push_back(std::move(entry));
  }

  io::Json json_;
  ModelConfig config_;
};

}  // namespace

ModelConfig read_hf_config(const std::string& file) { return HfConfig(file).read(); }

}  // namespace seqmill::infer
