#include "text/tokenizer_config.h"

#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "io/json.h"
#include "text/json_field.h"

namespace seqmill::text {
namespace {

constexpr int64_t kMaxId = 1 << 24;

std::optional<io::Json> read_if_there(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return io::read_json(path, io::LargeIntegers::kRound);
}

int32_t checked_id(const JsonField& field, int64_t id) {
  if (id < 0 || id >= kMaxId) field.fail("found the id {}, expected 0 to {}", id, kMaxId - 1);
  return static_cast<int32_t>(id);
}

// A token is a string, or an object that says more about it.
std::string token_text(const JsonField& field) { return field.json().is_object() ? field.at("content").string() : field.string(); }

void read_symbol_text(const JsonField& file, const std::string& name, EndSymbol& symbol) {
  const io::Json* found = file.json().find(name);
  if (symbol.stated || !found) return;
  symbol.stated = true;
  if (found->is_null()) return;
  const JsonField field = file.at(name);
  symbol.text = token_text(field);
  if (symbol.text.empty()) field.fail("found an empty text, expected a token or null");
  symbol.place = field.place();
}

// Generation may end with any of several symbols; the first is the one that ends a text.
void read_symbol_id(const JsonField& file, const std::string& name, EndSymbol& symbol) {
  const auto field = file.find(name);
  if (symbol.stated || !field) return;
  const bool is_list = field->json().is_array();
  if (is_list && field->size() == 0) return;
  const JsonField value = is_list ? field->item(0) : *field;
  symbol.stated = true;
  symbol.id = checked_id(value, value.integer());
  symbol.place = value.place();
}

void read_added_tokens_decoder(const JsonField& decoder, TokenizerConfig& config) {
  config.added_place = decoder.place();
  for (const auto& [key, value] : decoder.object()) {
    int64_t id = 0;
    if (!parse_int(key, id)) decoder.fail("found the key \"{}\", expected an id", excerpt(key, 40));
    const JsonField field = decoder.at(key);
    AddedToken token{checked_id(field, id), field.at("content").string(), field.flag("special", false), field.flag("normalized", false)};
    if (token.text.empty()) field.fail("the token has no text");
    config.added.push_back(std::move(token));
  }
}

// Of older files that say no more than text and id: what was added there are marks of conversations.
void read_added_tokens(const JsonField& file, TokenizerConfig& config) {
  config.added_place = file.place();
  for (const auto& [text, value] : file.object()) {
    if (text.empty()) file.fail("a token has no text");
    const JsonField field = file.at(text);
    config.added.push_back({checked_id(field, field.integer()), text, true, false});
  }
}

}  // namespace

std::string directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  return directory.empty() ? "." : directory;
}

std::vector<std::string> tokenizer_companions(const std::string& directory) {
  std::vector<std::string> names;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
    if (std::filesystem::exists(directory + "/" + name)) names.push_back(name);
  }
  return names;
}

TokenizerConfig read_tokenizer_config(const std::string& directory) {
  TokenizerConfig config;
  const auto path_of = [&](const char* name) { return directory + "/" + name; };
  if (const auto json = read_if_there(path_of("tokenizer_config.json"))) {
    const JsonField file(*json, path_of("tokenizer_config.json"));
    if (!file.flag("add_bos_token", true)) config.bos.stated = true;
    read_symbol_text(file, "bos_token", config.bos);
    read_symbol_text(file, "eos_token", config.eos);
    if (const auto decoder = file.find("added_tokens_decoder")) read_added_tokens_decoder(*decoder, config);
  }
  if (const auto json = read_if_there(path_of("special_tokens_map.json"))) {
    const JsonField file(*json, path_of("special_tokens_map.json"));
    read_symbol_text(file, "bos_token", config.bos);
    read_symbol_text(file, "eos_token", config.eos);
  }
  if (const auto json = read_if_there(path_of("added_tokens.json")); json && config.added.empty()) {
    read_added_tokens(JsonField(*json, path_of("added_tokens.json")), config);
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    if (config.bos.stated && config.eos.stated) break;
    if (const auto json = read_if_there(path_of(name))) {
      const JsonField file(*json, path_of(name));
      read_symbol_id(file, "bos_token_id", config.bos);
      read_symbol_id(file, "eos_token_id", config.eos);
    }
  }
  return config;
}

int32_t resolve(const EndSymbol& symbol, int32_t size, const std::function<int32_t(const std::string&)>& find) {
  if (symbol.text.empty()) {
    if (symbol.id >= size) fail("{}: the id is {}, but the tokeniser has {} tokens", symbol.place, symbol.id, size);
    return symbol.id;
  }
  const int32_t id = find(symbol.text);
  if (id < 0) fail("{}: the token is \"{}\", which the tokeniser does not have", symbol.place, excerpt(symbol.text, 100));
  return id;
}

}  // namespace seqmill::text
