#pragma once
// Small tokenisers for tests.

#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "support/files.h"
#include "text/byte_pairs.h"
#include "text/vocabulary.h"

namespace seqmill::test {

inline constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The 256 bytes, id = byte, then the outcomes of merges in order.
inline io::Json byte_vocabulary(const std::vector<std::pair<std::string, std::string>>& merges) {
  io::JsonObject vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.emplace_back(text::spelling_of_byte(static_cast<unsigned char>(byte)), byte);
  for (const auto& [left, right] : merges) vocabulary.emplace_back(left + right, static_cast<int64_t>(vocabulary.size()));
  return vocabulary;
}

inline io::Json merge_list(const std::vector<std::pair<std::string, std::string>>& merges) {
  io::Json list = io::Json::array();
  for (const auto& [left, right] : merges) list.push_back(left + " " + right);
  return list;
}

inline io::Json added_token(int64_t id, const std::string& text, bool special) {
  return io::JsonObject{{"id", id},          {"content", text}, {"single_word", false}, {"lstrip", false},
                        {"rstrip", false}, {"normalized", false}, {"special", special}};
}

/// style: "gpt2", "llama3" or "qwen2". Special tokens, and "<tool>", which is none, follow the vocabulary.
inline io::Json byte_level_json(const std::string& style, io::Json vocabulary, io::Json merges, const std::vector<std::string>& special) {
  const bool is_gpt2 = style == "gpt2";
  const io::Json byte_level = io::JsonObject{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", is_gpt2}};
  io::Json pre_tokenizer = byte_level;
  if (!is_gpt2) {
    const io::Json split = io::JsonObject{{"type", "Split"},
                                          {"pattern", io::JsonObject{{"Regex", style == "llama3" ? kLlama3Pattern : kQwen2Pattern}}},
                                          {"behavior", "Isolated"},
                                          {"invert", false}};
    pre_tokenizer = io::JsonObject{{"type", "Sequence"}, {"pretokenizers", io::JsonArray{split, byte_level}}};
  }
  io::Json added = io::Json::array();
  auto id = static_cast<int64_t>(vocabulary.as_object().size());
  for (const std::string& text : special) added.push_back(added_token(id++, text, true));
  added.push_back(added_token(id, "<tool>", false));
  const io::Json model = io::JsonObject{{"type", "BPE"},
                                        {"dropout", nullptr},
                                        {"unk_token", nullptr},
                                        {"continuing_subword_prefix", nullptr},
                                        {"end_of_word_suffix", nullptr},
                                        {"fuse_unk", false},
                                        {"byte_fallback", false},
                                        {"ignore_merges", style == "llama3"},
                                        {"vocab", std::move(vocabulary)},
                                        {"merges", std::move(merges)}};
  return io::JsonObject{{"version", "1.0"},
                        {"truncation", nullptr},
                        {"padding", nullptr},
                        {"added_tokens", added},
                        {"normalizer", style == "qwen2" ? io::Json(io::JsonObject{{"type", "NFC"}}) : io::Json()},
                        {"pre_tokenizer", pre_tokenizer},
                        {"post_processor", byte_level},
                        {"decoder", byte_level},
                        {"model", model}};
}

/// Writes <directory>/tokenizer.json: bytes, a few merges of English, and special tokens.
inline std::string put_byte_level(const std::string& directory, const std::string& style = "llama3",
                                  const std::vector<std::string>& special = {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                                                             "<|eot_id|>", "<|im_start|>", "<|im_end|>"}) {
  const std::vector<std::pair<std::string, std::string>> merges = {{"t", "h"}, {"th", "e"}, {"\u0120", "the"}, {"e", "r"}, {"u", "s"}, {"us", "er"}, {"i", "n"}};
  return put(directory + "/tokenizer.json", byte_level_json(style, byte_vocabulary(merges), merge_list(merges), special).dump_pretty());
}

/// Writes <directory>/vocab.spm, trained on a few lines of English so that text is kept as it is; special tokens of chatml beside it.
inline std::string put_sentencepiece(const std::string& directory, const std::string& type = "bpe") {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += fmt::format("The answer {} of Assistant A or B is (better) than [others], the User's question: why?\n", i);
  text::VocabularyTraining options;
  options.size = 320;
  options.type = type;
  options.verbatim = true;
  text::train_vocabulary({put(directory + "/text", lines)}, options, directory + "/vocab.spm");
  const io::Json added = io::JsonObject{{"320", io::JsonObject{{"content", "<|im_start|>"}, {"special", true}}}, {"321", io::JsonObject{{"content", "<|im_end|>"}, {"special", true}}}};
  put(directory + "/tokenizer_config.json", io::Json(io::JsonObject{{"added_tokens_decoder", added}}).dump());
  return directory + "/vocab.spm";
}

}  // namespace seqmill::test
