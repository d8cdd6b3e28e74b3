#include "infer/model_config.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "io/run_dir.h"

namespace seqmill::infer {

ModelConfig model_config_of(const std::vector<io::ConfigEntry>& entries, const std::string& file) {
  ModelConfig config;
  config.file = file;
  for (const io::ConfigEntry& entry : entries) {
    if (entry.key == "chat.template" && entry.values.size() == 1) config.chat_template = entry.values[0];
    if (entry.key == "aspects") config.aspects = entry.values;
    if (entry.key == "features") config.features = join(entry.values, " ");
    if (entry.key == "hidden") config.hidden = entry.values;
    if (entry.key == "pool") {
      try {
        config.pooling = pooling_of(join(entry.values, " "));
      } catch (const Error& error) {
        fail("{}:{}: pool: {}", entry.file, entry.line, error.what());
      }
    }
    if (entry.key == "window") {
      int64_t window = 0;
      if (entry.values.size() != 1 || !parse_int(entry.values[0], window) || window < 0) {
        fail("{}:{}: window: found '{}', expected a number of tokens", file, entry.line, join(entry.values, ", "));
      }
      config.window = window;
    }
    if (!starts_with(entry.key, "model.") && !starts_with(entry.key, "lora.")) continue;
    config.entries.push_back(entry);
    if (entry.key == "model.type" && entry.values.size() == 1) config.type = entry.values[0];
  }
  if (config.type.empty()) fail("{} does not say model.type: it is not the configuration of a model", file);
  return config;
}

Pooling pooling_of(const std::string& name) {
  const std::vector<std::string> names = pooling_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) fail("'{}' is no way to pool states; known: {}", name, join(names, ", "));
  return static_cast<Pooling>(found - names.begin());
}

std::vector<std::string> pooling_names() { return {"last", "mean"}; }

ModelConfig read_model_config(const std::string& file) {
  if (ends_with(file, ".json")) return read_hf_config(file);
  ModelConfig config = model_config_of(io::read_yaml(file), file);
  const std::string kept = (std::filesystem::path(file).parent_path() / io::kChatTemplateFile).string();
  if (std::filesystem::exists(kept)) config.chat_template = kept;
  return config;
}

void ModelConfig::apply(const std::function<void(Options&)>& declare) const {
  std::map<std::string, std::string> previews;
  for (const io::ConfigEntry& entry : entries) {
    if (entry.values.size() == 1) previews[entry.key] = entry.values[0];
  }
  Options options;
  options.set_previews(previews);
  declare(options);
  for (const io::ConfigEntry& entry : entries) {
    const std::string place = entry.line > 0 ? fmt::format("{}:{}", entry.file, entry.line) : entry.file;
    Option* option = options.find(entry.key);
    if (!option) fail("{}: {} models have no option '{}'", place, type, entry.key);
    const std::string wrong = option->set(entry.values);
    if (!wrong.empty()) fail("{}: {}: {}", place, entry.key, wrong);
  }
}

}  // namespace seqmill::infer
