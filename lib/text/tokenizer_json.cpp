#include "text/tokenizer_json.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/strings.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "text/json_field.h"

namespace seqmill::text {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 29;
constexpr int64_t kMaxId = (1 << 24) - 1;
constexpr int64_t kMaxGap = 1 << 16;  // ids without a token, at one place
constexpr const char* kSupported = "supported are byte-level BPE tokenisers, as of GPT-2, Llama 3 and Qwen2, and SentencePiece models (tokenizer.model)";
// Radford et al., 2019: contractions, words, numbers and runs of other characters, each with a space before it, and white space.
constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

[[noreturn]] void fail_unsupported(const JsonField& field, const std::string& what) { field.fail("{} is not supported; {}", what, kSupported); }

// The type of a part of the pipeline; null is none.
std::string type_of(const JsonField& part) { return part.at("type").string(); }

// A model of an older file has no type.
void check_model(const JsonField& model) {
  const auto type = model.find("type");
  if (type ? type->string() != "BPE" : !model.find("merges")) {
    fail_unsupported(model, type ? fmt::format("a model of type \"{}\"", excerpt(type->string(), 40)) : "a model without merges");
  }
  if (model.flag("byte_fallback", false)) fail_unsupported(model, "BPE with byte_fallback");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto mark = model.find(name); mark && !mark->string().empty()) fail_unsupported(model, fmt::format("BPE with a {}", name));
  }
  if (const auto dropout = model.find("dropout"); dropout && dropout->json().dump() != "0.0" && dropout->json().dump() != "0") {
    fail_unsupported(model, "BPE with dropout");
  }
}

void read_vocabulary(const JsonField& vocabulary, TokenizerJson& file) {
  const io::JsonObject& entries = vocabulary.object();
  if (entries.empty()) vocabulary.fail("it has no pieces");
  int64_t largest = 0;
  for (const auto& [piece, value] : entries) {
    const int64_t id = value.is_int() ? value.as_int() : -1;
    if (id < 0 || id > kMaxId) vocabulary.fail("the piece \"{}\" has the id {}, expected 0 to {}", excerpt(piece, 40), excerpt(value.dump(), 40), kMaxId);
    if (piece.empty()) vocabulary.fail("the piece with the id {} has no text", id);
    largest = std::max(largest, id);
  }
  const auto count = static_cast<int64_t>(entries.size());
  if (largest >= count + kMaxGap) vocabulary.fail("the largest id is {}, but there are only {} pieces", largest, count);
  file.pieces.resize(static_cast<size_t>(largest) + 1);
  for (const auto& [piece, value] : entries) {
    std::string& slot = file.pieces[static_cast<size_t>(value.as_int())];
    if (!slot.empty()) vocabulary.fail("the pieces \"{}\" and \"{}\" have the same id {}", excerpt(slot, 40), excerpt(piece, 40), value.as_int());
    slot = piece;
  }
}

using Ids = std::unordered_map<std::string_view, int32_t>;

// "a b" or ["a","b"].
std::pair<std::string, std::string> read_pair(const JsonField& merges, size_t index) {
  const io::Json& item = merges.json().as_array()[index];
  if (item.is_string()) {
    const std::vector<std::string> parts = split(item.as_string(), ' ');
    if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) {
      merges.item(index).fail("found \"{}\", expected two pieces with a space between", excerpt(item.as_string(), 60));
    }
    return {parts[0], parts[1]};
  }
  const JsonField pair = merges.item(index);
  if (pair.size() != 2) pair.fail("found {} pieces, expected 2", pair.size());
  return {pair.item(0).string(), pair.item(1).string()};
}

void read_merges(const JsonField& merges, TokenizerJson& file) {
  Ids ids;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    if (!file.pieces[id].empty()) ids.emplace(file.pieces[id], static_cast<int32_t>(id));
  }
  const auto id_of = [&](const std::string& piece, size_t index) {
    const auto found = ids.find(piece);
    if (found == ids.end()) merges.item(index).fail("the piece \"{}\" is not in the vocabulary", excerpt(piece, 60));
    return found->second;
  };
  std::unordered_map<uint64_t, size_t> seen;
  const size_t count = merges.size();
  file.merges.reserve(count);
  seen.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const auto [left, right] = read_pair(merges, i);
    const BytePairs::Merge merge{id_of(left, i), id_of(right, i), id_of(left + right, i)};
    const auto [earlier, inserted] = seen.emplace(static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right), i);
    if (!inserted) merges.item(i).fail("it is the same pair as item {}", earlier->second);
    file.merges.push_back(merge);
  }
}

void read_normalizer(const JsonField& normalizer, TokenizerJson& file) {
  const std::string type = type_of(normalizer);
  if (type == "Sequence") {
    const JsonField parts = normalizer.at("normalizers");
    for (size_t i = 0; i < parts.size(); ++i) read_normalizer(parts.item(i), file);
  } else if (type == "NFC") {
    file.normalizes = true;
  } else {
    fail_unsupported(normalizer, fmt::format("the normaliser {}", excerpt(type, 40)));
  }
}

void read_split(const JsonField& part, TokenizerJson& file) {
  const std::string behavior = part.at("behavior").string();
  const bool invert = part.flag("invert", false);
  // To remove what does not match comes to the same with patterns that match every character, as those in use do.
  if (!(behavior == "Isolated" || (behavior == "Removed" && invert))) {
    fail_unsupported(part, fmt::format("a split with the behaviour {}{}", excerpt(behavior, 40), invert ? ", inverted" : ""));
  }
  const JsonField pattern = part.at("pattern");
  const auto literal = pattern.find("String");
  const JsonField text = literal ? *literal : pattern.at("Regex");
  if (text.string().empty()) text.fail("found an empty pattern");
  file.splits.push_back({text.string(), literal.has_value(), text.place()});
}

// Returns whether bytes were turned into their spelling: behind that nothing can be split any more.
bool read_pre_tokenizer(const JsonField& part, TokenizerJson& file, bool is_first) {
  const std::string type = type_of(part);
  if (type == "Sequence") {
    const JsonField parts = part.at("pretokenizers");
    bool done = false;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (done) parts.item(i).fail("it stands behind ByteLevel, which has to be the last");
      done = read_pre_tokenizer(parts.item(i), file, is_first && i == 0);
    }
    return done;
  }
  if (type == "Split") {
    read_split(part, file);
  } else if (type == "Digits") {
    file.splits.push_back({part.flag("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", false, part.place()});
  } else if (type == "ByteLevel") {
    file.prefix_space = part.flag("add_prefix_space", true);
    if (file.prefix_space && !is_first) fail_unsupported(part, "add_prefix_space behind another pre-tokeniser");
    if (part.flag("use_regex", true)) file.splits.push_back({kGpt2Pattern, false, part.place()});
    return true;
  } else {
    fail_unsupported(part, fmt::format("the pre-tokeniser {}", excerpt(type, 40)));
  }
  return false;
}

void check_decoder(const JsonField& decoder) {
  const std::string type = type_of(decoder);
  if (type == "Sequence") {
    const JsonField parts = decoder.at("decoders");
    for (size_t i = 0; i < parts.size(); ++i) check_decoder(parts.item(i));
  } else if (type != "ByteLevel") {
    fail_unsupported(decoder, fmt::format("the decoder {}", excerpt(type, 40)));
  }
}

// What a post-processor does to pairs of texts and to offsets does not matter here.
void read_post_processor(const JsonField& part, TokenizerJson& file) {
  const std::string type = type_of(part);
  if (type == "Sequence") {
    const JsonField parts = part.at("processors");
    for (size_t i = 0; i < parts.size(); ++i) read_post_processor(parts.item(i), file);
  } else if (type == "TemplateProcessing") {
    const JsonField single = part.at("single");
    if (single.size() == 0) return;
    if (const auto token = single.item(0).find("SpecialToken")) file.begins_with = token->at("id").string();
  }
}

void read_added_tokens(const JsonField& tokens, TokenizerJson& file) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const JsonField field = tokens.item(i);
    const int64_t id = field.at("id").integer();
    AddedToken token{-1, field.at("content").string(), field.flag("special", false), field.flag("normalized", false)};
    if (token.text.empty()) field.fail("the token has no text");
    reserve_id(file.pieces, id, field.place());
    token.id = static_cast<int32_t>(id);
    std::string& piece = file.pieces[static_cast<size_t>(id)];
    if (!piece.empty() && piece != token.text) {
      field.fail("the id {} of \"{}\" is that of \"{}\" already", id, excerpt(token.text, 40), excerpt(piece, 40));
    }
    piece = token.text;
    for (const char* name : {"single_word", "lstrip", "rstrip"}) {
      if (!token.special && field.flag(name, false)) fail_unsupported(field, fmt::format("an added token with {}", name));
    }
    file.added.push_back(std::move(token));
  }
}

}  // namespace

void reserve_id(std::vector<std::string>& pieces, int64_t id, const std::string& place) {
  const auto size = static_cast<int64_t>(pieces.size());
  const int64_t most = std::min(kMaxId, size + kMaxGap);
  if (id < 0 || id > most) fail("{}: found the id {}, expected 0 to {}", place, id, most);
  if (id >= size) pieces.resize(static_cast<size_t>(id) + 1);
}

TokenizerJson read_tokenizer_json(const std::string& path) {
  const io::Json json = io::parse_json(io::read_file(path, kMaxFileBytes), path, io::LargeIntegers::kRound);
  const JsonField root(json, path);
  TokenizerJson file;
  const JsonField model = root.at("model");
  check_model(model);
  if (const auto part = root.find("normalizer")) read_normalizer(*part, file);
  const auto pre_tokenizer = root.find("pre_tokenizer");
  if (!pre_tokenizer || !read_pre_tokenizer(*pre_tokenizer, file, true)) fail_unsupported(root, "BPE without the pre-tokeniser ByteLevel");
  const auto decoder = root.find("decoder");
  if (!decoder) fail_unsupported(root, "BPE without the decoder ByteLevel");
  check_decoder(*decoder);
  if (const auto part = root.find("post_processor")) read_post_processor(*part, file);
  file.ignore_merges = model.flag("ignore_merges", false);
  read_vocabulary(model.at("vocab"), file);
  read_merges(model.at("merges"), file);
  if (const auto tokens = root.find("added_tokens")) read_added_tokens(*tokens, file);
  return file;
}

}  // namespace seqmill::text
