#pragma once
// What a config.yaml says about its model.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "infer/language_model.h"
#include "io/yaml.h"

namespace seqmill::infer {

/// The entries whose key begins with "model." or "lora.".
struct ModelConfig {
  std::string file, type;
  std::string chat_template = "plain";  ///< of the conversations it was tuned with: chat.template, or the file chat.yaml beside it
  std::vector<std::string> aspects;      ///< of a reward model: what its scores are about, a name each ("aspects"); may be empty
  Pooling pooling = Pooling::kLast;      ///< of a reward model: of which states its scores are made ("pool": last, mean)
  std::string features;                  ///< of a learned metric: of which texts its scores are made ("features"); else "" or "answer"
  std::vector<std::string> hidden;       ///< likewise, the widths of its head ("hidden")
  std::optional<int64_t> window;         ///< of a run: the tokens that it was trained to see at once ("window"), 0 for the usual number
  std::vector<io::ConfigEntry> entries;

  /// Declares options, which may look at "model.type" beforehand, and gives them the values of the file. Throws Error with file and line for a value
  /// that does not fit and for a key that no option has.
  void apply(const std::function<void(Options&)>& declare) const;
};

/// Of a config.yaml, or of a config.json as Hugging Face's transformers write it for Llama, Mistral and Qwen2 (hf_config.cpp). Throws Error for a file that does not say
/// model.type, and for a model that is none of those or has what they have not here, naming it.
ModelConfig read_model_config(const std::string& file);

/// "last", "mean". Throws Error for other names.
Pooling pooling_of(const std::string& name);
std::vector<std::string> pooling_names();

/// What `work` returns. A usage error about options is turned into one about the file that they came from, as they are not the user's.
template <typename Work>
auto with_options_of(const std::string& file, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.exit_code() != kExitUsage) throw;
    throw Error(fmt::format("{}: {}", file, error.what()));
  }
}

/// The same of entries that were read before, from what messages call `file`.
ModelConfig model_config_of(const std::vector<io::ConfigEntry>& entries, const std::string& file);

/// What our own config.json says besides: the name of the template of conversations.
constexpr const char* kChatTemplateKey = "seqmill_chat_template";

/// The entries that stand for a config.json.
ModelConfig read_hf_config(const std::string& file);

}  // namespace seqmill::infer
