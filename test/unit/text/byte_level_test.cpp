#include <catch2/catch.hpp>
#include <thread>

#include "base/rng.h"
#include "base/strings.h"
#include "io/json.h"
#include "support/files.h"
#include "support/tokenizer_files.h"
#include "text/split_pattern.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

const std::vector<std::string> kSpecial = {"<|begin_of_text|>", "<|end_of_text|>", "<|end|>"};

std::vector<int32_t> ids_of(const io::Json& list) {
  std::vector<int32_t> ids;
  for (const io::Json& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_int()));
  return ids;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

io::Json small(const std::string& style = "gpt2", const Pairs& merges = {{"t", "h"}, {"th", "e"}}) {
  return byte_level_json(style, byte_vocabulary(merges), merge_list(merges), kSpecial);
}

std::shared_ptr<const Tokenizer> load(const io::Json& json) {
  TempDir dir;
  return load_tokenizer(put(dir / "tokenizer.json", json.dump()));
}

// Changes the part at a path of keys.
io::Json with(io::Json json, const std::vector<std::string>& path, io::Json value) {
  if (path.size() == 1) {
    json.set(path[0], std::move(value));
    return json;
  }
  json.set(path[0], with(json.at(path[0]), {path.begin() + 1, path.end()}, std::move(value)));
  return json;
}

Failure failure(const io::Json& json) {
  return failure_of([&] { load(json); });
}

std::string pieces_of(const Tokenizer& tokenizer, const std::string& text) {
  std::string pieces;
  for (const int32_t id : tokenizer.encode(text)) pieces += (pieces.empty() ? "" : "|") + tokenizer.piece(id);
  return pieces;
}

std::vector<std::string> parts_of(const std::string& pattern, std::string_view text) {
  const SplitPattern split(pattern, false, "pattern");
  SplitPattern::Scratch scratch;
  std::vector<std::string_view> parts;
  split.split(text, scratch, parts);
  return {parts.begin(), parts.end()};
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("byte-level BPE gives what the reference gives, with each pre-tokeniser") {
  const io::Json data = io::read_json(SEQMILL_TEST_DATA "/byte_level_bpe.json");
  TempDir dir;
  for (const std::string style : {"gpt2", "llama3", "qwen2"}) {
    const io::Json json = byte_level_json(style, data.at("vocab"), data.at("merges"), kSpecial);
    const auto tokenizer = load_tokenizer(put(dir / (style + ".json"), json.dump()));
    REQUIRE(data.at("cases").as_array().size() > 200);
    for (const io::Json& item : data.at("cases").as_array()) {
      const std::string text = item.at("text").as_string();
      CAPTURE(style, text);
      if (text.find("<tool>") != std::string::npos) continue;  // the reference knows no added tokens
      const std::vector<int32_t> ids = tokenizer->encode(text);
      REQUIRE(ids == ids_of(item.at(style)));
      REQUIRE(tokenizer->encode(text) == ids);  // words are looked up the second time
      REQUIRE(tokenizer->decode(ids) == (style == "qwen2" ? to_nfc(text) : text));
    }
  }
}

TEST_CASE("merges go by rank, from the left") {
  CHECK(pieces_of(*load(small()), "thethth") == "the|th|th");
  CHECK(pieces_of(*load(small("gpt2", {{"a", "a"}})), "aaaaa") == "aa|aa|a");
  CHECK(pieces_of(*load(small("gpt2", {{"b", "c"}, {"a", "b"}, {"ab", "c"}})), "abc") == "a|bc");
  CHECK(pieces_of(*load(small("gpt2", {{"a", "b"}, {"b", "c"}, {"ab", "c"}})), "abcbc") == "abc|bc");
  // A merge that was queued before its symbols became others is forgotten.
  CHECK(pieces_of(*load(small("gpt2", {{"c", "d"}, {"b", "c"}, {"a", "b"}, {"d", "e"}})), "abcde") == "ab|cd|e");
}

TEST_CASE("merges may be written as pairs, and whole words come first if the file says so") {
  io::Json json = small();
  json = with(json, {"model", "merges"}, io::JsonArray{io::JsonArray{"t", "h"}, io::JsonArray{"th", "e"}});
  CHECK(pieces_of(*load(json), "the") == "the");
  io::Json vocabulary = json.at("model").at("vocab");
  vocabulary.set("word", 258 + 10);
  json = with(json, {"model", "vocab"}, vocabulary);
  CHECK(pieces_of(*load(json), "word") == "w|o|r|d");
  CHECK(pieces_of(*load(with(json, {"model", "ignore_merges"}, true)), "word") == "word");
}

TEST_CASE("patterns of pre-tokenisers split as published") {
  CHECK(parts_of(kLlama3Pattern, "I'll say 12345 words.\n\n  Next  line  \n") ==
        Strings{"I", "'ll", " say", " ", "123", "45", " words", ".\n\n", " ", " Next", " ", " line", "  \n"});
  CHECK(parts_of(kQwen2Pattern, "x 2024!") == Strings{"x", " ", "2", "0", "2", "4", "!"});
  CHECK(parts_of(kLlama3Pattern, "e\u0301a 漢字。😀") == Strings{"e", "\u0301a", " 漢字", "。😀"});
  CHECK(parts_of(kLlama3Pattern, "   ") == Strings{"   "});
  CHECK(parts_of(kLlama3Pattern, "").empty());
  CHECK(parts_of("b", "abcb") == Strings{"a", "b", "c", "b"});
  CHECK(parts_of("x*", "é漢x") == Strings{"é漢", "x"});  // an empty match is no part
  CHECK(parts_of("(?=b)", "ab") == Strings{"ab"});
}

TEST_CASE("a pattern that would take for ever is an error, one that is none too") {
  const std::string text(40, 'a');
  const Failure slow = failure_of([&] { parts_of("(a+)+$|(a*)*c", text + "!"); });
  CHECK(slow.says("pattern: the pattern takes too many steps on \"aaaa"));
  CHECK(failure_of([&] { parts_of("(a", "a"); }).says("pattern: no regular expression at byte"));
  CHECK(failure_of([&] { parts_of(std::string(100'000, 'a'), "a"); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { parts_of("\\C", "a"); }).exit_code == kExitFailure);
  // What honest patterns do on long runs is no such thing.
  CHECK(parts_of(kLlama3Pattern, std::string(3'000'000, ' ') + "x") == Strings{std::string(2'999'999, ' '), " x"});
}

TEST_CASE("special tokens are never found in texts, other added tokens are") {
  const auto tokenizer = load(small());
  const int32_t end = tokenizer->special("<|end|>");
  REQUIRE(end == 260);
  CHECK(tokenizer->size() == 262);
  CHECK(tokenizer->is_special(end));
  CHECK_FALSE(tokenizer->is_special(261));
  CHECK(tokenizer->special("<tool>") == -1);
  CHECK(tokenizer->special("the") == -1);
  const std::vector<int32_t> ids = tokenizer->encode("a<|end|><tool>the");
  CHECK(std::count(ids.begin(), ids.end(), end) == 0);
  CHECK(ids.size() == 1 + 7 + 1 + 1);
  CHECK(ids[8] == 261);
  CHECK(tokenizer->decode(ids) == "a<|end|><tool>the");
  CHECK(tokenizer->decode({'a', end, 'b'}) == "ab");
  // Not even where the vocabulary and its merges would lead to one.
  const Pairs merges = {{"<", "x"}, {"<x", ">"}};
  io::Json json = small("llama3", merges);
  json = with(json, {"added_tokens"}, io::JsonArray{added_token(257, "<x>", true), added_token(258, "<|endoftext|>", true)});
  const auto merged = load(json);
  CHECK(merged->special("<x>") == 257);
  CHECK(pieces_of(*merged, "<x>") == "<x|>");
}

TEST_CASE("ids are checked, and any bytes come back") {
  const auto tokenizer = load(small());
  CHECK(failure_of([&] { tokenizer->decode({-1}); }).says("no piece has the id -1, expected 0 to 261"));
  CHECK(failure_of([&] { tokenizer->piece(262); }).says("expected 0 to 261"));
  CHECK(failure_of([&] { tokenizer->encode("a\xFF"); }).says("byte 2 (0xFF) is not valid UTF-8"));
  CHECK(tokenizer->decode({0xF0, 0x9F}) == "\xF0\x9F");  // cut within a character
  CHECK(tokenizer->piece(0x20) == "\u0120");
  CHECK(tokenizer->encode("").empty());
}

TEST_CASE("the symbols of begin and end come from the files beside, or from usual names") {
  TempDir dir;
  put(dir / "tokenizer.json", small().dump());
  const auto ends = [&] {
    const auto tokenizer = load_tokenizer(dir.path());
    return std::pair(tokenizer->bos(), tokenizer->eos());
  };
  CHECK(ends() == std::pair(258, 259));
  put(dir / "config.json", R"({"bos_token_id": null, "eos_token_id": [260, 258], "vocab_size": 300})");
  CHECK(ends() == std::pair(258, 260));
  put(dir / "generation_config.json", R"({"eos_token_id": 258})");
  CHECK(ends() == std::pair(258, 258));
  put(dir / "special_tokens_map.json", R"({"eos_token": {"content": "<|end|>"}})");
  CHECK(ends() == std::pair(258, 260));
  put(dir / "tokenizer_config.json", R"({"bos_token": null, "eos_token": "<|end_of_text|>", "model_max_length": 1000000000000000019884624838656})");
  CHECK(ends() == std::pair(-1, 259));
  put(dir / "tokenizer_config.json", R"({"bos_token": "<|end|>", "add_bos_token": false, "eos_token": "<|end_of_text|>"})");
  CHECK(ends() == std::pair(-1, 259));
  put(dir / "tokenizer_config.json", R"({"eos_token": "</none>"})");
  CHECK(failure_of(ends).says("tokenizer_config.json: eos_token: the token is \"</none>\", which the tokeniser does not have"));
  put(dir / "tokenizer_config.json", R"({"eos_token": 5})");
  CHECK(failure_of(ends).says("tokenizer_config.json: eos_token: expected a string, found an integer"));
  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"262": {"content": "<new>", "special": true}}, "eos_token": "<new>"})");
  CHECK(ends() == std::pair(258, 262));
  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"9": {"content": "<new>", "special": true}}})");
  CHECK(failure_of(ends).says("the id 9 of \"<new>\" is that of"));
}

TEST_CASE("a copy of a tokeniser is the same one") {
  TempDir from, to;
  put(from / "tokenizer.json", small().dump());
  put(from / "config.json", R"({"eos_token_id": 260})");
  put(from / "tokenizer_config.json", R"({"chat_template": "kept", "bos_token": null})");
  const auto tokenizer = load_tokenizer(from.path());
  copy_tokenizer(*tokenizer, to.path());
  const auto copy = load_tokenizer(to.path());
  CHECK(same_pieces(*copy, *tokenizer));
  CHECK(copy->bos() == -1);
  CHECK(copy->eos() == 260);
  CHECK(get(to / "tokenizer_config.json").find("kept") != std::string::npos);
  CHECK_FALSE(same_pieces(*copy, *load(small("gpt2", {{"t", "h"}, {"th", "a"}}))));
}

TEST_CASE("a space at the beginning marks the beginning of a text where the file says so") {
  const auto tokenizer = load(with(small(), {"pre_tokenizer", "add_prefix_space"}, true));
  CHECK(pieces_of(*tokenizer, "the") == "\u0120|the");
  const std::vector<int32_t> ids = tokenizer->encode("the");
  CHECK(tokenizer->decode(ids) == "the");
  CHECK(tokenizer->decode(ids, true) == " the");
  CHECK(tokenizer->encode_continued("the").size() == 1);
}

TEST_CASE("digits may be split off, and splits be by texts") {
  const io::Json byte_level = small().at("pre_tokenizer");
  const auto with_parts = [&](io::JsonArray parts) {
    parts.push_back(byte_level);
    return load(with(small("gpt2", {{"1", "2"}, {"a", "-"}, {"1", "a"}}), {"pre_tokenizer"}, io::JsonObject{{"type", "Sequence"}, {"pretokenizers", parts}}));
  };
  CHECK(pieces_of(*with_parts({}), "12a-") == "12|a|-");
  CHECK(pieces_of(*with_parts({io::JsonObject{{"type", "Digits"}, {"individual_digits", true}}}), "12") == "1|2");
  CHECK(pieces_of(*with_parts({io::JsonObject{{"type", "Digits"}, {"individual_digits", false}}}), "12") == "12");
  const io::Json literal = io::JsonObject{{"type", "Split"}, {"pattern", io::JsonObject{{"String", "1"}}}, {"behavior", "Isolated"}, {"invert", false}};
  CHECK(pieces_of(*with_parts({literal}), "12") == "1|2");
}

TEST_CASE("what is not supported is refused by name") {
  const io::Json good = small();
  const auto refused = [&](const std::vector<std::string>& path, io::Json value, const std::string& what) {
    const Failure found = failure(with(good, path, std::move(value)));
    CAPTURE(found.message);
    return found.exit_code == kExitFailure && found.says("tokenizer.json") && found.says(what) && found.says("is not supported; supported are byte-level BPE");
  };
  CHECK(refused({"model", "type"}, "WordPiece", "a model of type \"WordPiece\""));
  CHECK(refused({"model", "type"}, "Unigram", "a model of type \"Unigram\""));
  CHECK(refused({"model", "byte_fallback"}, true, "BPE with byte_fallback"));
  CHECK(refused({"model", "dropout"}, 0.1, "BPE with dropout"));
  CHECK(refused({"model", "continuing_subword_prefix"}, "##", "continuing_subword_prefix"));
  CHECK(refused({"model", "end_of_word_suffix"}, "</w>", "end_of_word_suffix"));
  CHECK(refused({"normalizer"}, io::JsonObject{{"type", "NFKC"}}, "the normaliser NFKC"));
  CHECK(refused({"normalizer"}, io::JsonObject{{"type", "Sequence"}, {"normalizers", io::JsonArray{io::JsonObject{{"type", "Lowercase"}}}}}, "the normaliser Lowercase"));
  CHECK(refused({"pre_tokenizer"}, io::JsonObject{{"type", "Metaspace"}}, "the pre-tokeniser Metaspace"));
  CHECK(refused({"pre_tokenizer"}, nullptr, "BPE without the pre-tokeniser ByteLevel"));
  CHECK(refused({"decoder"}, nullptr, "BPE without the decoder ByteLevel"));
  CHECK(refused({"decoder", "type"}, "WordPiece", "the decoder WordPiece"));
  io::Json split = small("qwen2");
  io::Json parts = split.at("pre_tokenizer").at("pretokenizers");
  parts.as_array()[0].set("behavior", "MergedWithNext");
  CHECK(failure(with(split, {"pre_tokenizer", "pretokenizers"}, parts)).says("pretokenizers[0]: a split with the behaviour MergedWithNext is not supported"));
  CHECK(failure(with(good, {"added_tokens"}, io::JsonArray{with(added_token(258, "<a>", false), {"lstrip"}, true)})).says("an added token with lstrip is not supported"));
}

TEST_CASE("broken files are refused, naming the field") {
  const io::Json good = small();
  const auto says = [&](const std::vector<std::string>& path, io::Json value, const std::string& what) {
    const Failure found = failure(with(good, path, std::move(value)));
    CAPTURE(found.message);
    CHECK(found.exit_code == kExitFailure);
    return found.says("tokenizer.json") && found.says(what);
  };
  io::Json vocabulary = good.at("model").at("vocab");
  CHECK(says({"model", "vocab"}, with(vocabulary, {"zz"}, 3), "have the same id 3"));
  CHECK(says({"model", "vocab"}, with(vocabulary, {"zz"}, -1), "the piece \"zz\" has the id -1"));
  CHECK(says({"model", "vocab"}, with(vocabulary, {"zz"}, "x"), "the piece \"zz\" has the id \"x\""));
  CHECK(says({"model", "vocab"}, with(vocabulary, {"zz"}, 1 << 23), "the largest id is 8388608, but there are only 259 pieces"));
  CHECK(says({"model", "vocab"}, io::Json::object(), "model.vocab: it has no pieces"));
  CHECK(says({"model", "vocab"}, io::Json::array(), "model.vocab: expected an object, found an array"));
  CHECK(says({"model", "vocab"}, nullptr, "the field \"vocab\" is missing"));
  vocabulary.as_object().erase(vocabulary.as_object().begin() + 'a');
  CHECK(says({"model", "vocab"}, vocabulary, "no piece for the byte 0x61"));
  CHECK(says({"model", "merges"}, io::JsonArray{"t q"}, "model.merges[0]: the piece \"tq\" is not in the vocabulary"));
  CHECK(says({"model", "merges"}, io::JsonArray{"t h", "t h"}, "model.merges[1]: it is the same pair as item 0"));
  CHECK(says({"model", "merges"}, io::JsonArray{"th"}, "model.merges[0]: found \"th\", expected two pieces"));
  CHECK(says({"model", "merges"}, io::JsonArray{io::Json(io::JsonArray{"t"})}, "model.merges[0]: found 1 pieces, expected 2"));
  CHECK(says({"model", "merges"}, io::JsonArray{io::Json(io::JsonArray{"t", 1})}, "model.merges[0][1]: expected a string, found an integer"));
  CHECK(says({"model", "merges"}, io::JsonArray{7}, "model.merges[0]: expected an array, found an integer"));
  CHECK(says({"added_tokens"}, io::JsonArray{added_token('a', "<x>", true)}, "the id 97 of \"<x>\" is that of \"a\" already"));
  CHECK(says({"added_tokens"}, io::JsonArray{added_token(1 << 23, "<x>", true)}, "found the id 8388608"));
  CHECK(says({"added_tokens"}, io::JsonArray{added_token(258, "", true)}, "the token has no text"));
  CHECK(says({"added_tokens"}, io::JsonArray{}, "no token is known to end a text"));
  CHECK(says({"model"}, 3, "model: expected an object, found an integer"));
  CHECK(says({"pre_tokenizer"}, io::JsonObject{}, "pre_tokenizer: the field \"type\" is missing"));
  TempDir dir;
  const std::string whole = good.dump();
  for (size_t size = 0; size < whole.size(); size += 311) {
    put(dir / "tokenizer.json", whole.substr(0, size));
    CHECK(failure_of([&] { load_tokenizer(dir.path()); }).says("tokenizer.json"));
  }
  CHECK(failure_of([&] { load_tokenizer(dir / "none.json"); }).says("none.json"));
  TempDir bare;
  CHECK(failure_of([&] { load_tokenizer(bare.path()); }).says("it holds no tokeniser, expected vocab.spm, tokenizer.model or tokenizer.json"));
}

TEST_CASE("long words and long texts are encoded in good time, from several threads alike") {
  const auto tokenizer = load(small("llama3", {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}, {"t", "h"}, {"th", "e"}}));
  const std::string word(1'000'001, 'a');
  const std::vector<int32_t> ids = tokenizer->encode(word);
  CHECK(ids.size() == 125'001);
  CHECK(tokenizer->decode(ids) == word);
  Rng rng(9, "texts");
  std::string text;
  while (text.size() < 100'000) append_utf8(text, static_cast<char32_t>(rng.below(3) == 0 ? 0x20 + rng.below(0x3000) : 'a' + rng.below(26)));
  const std::vector<int32_t> expected = tokenizer->encode(text);
  CHECK(tokenizer->decode(expected) == text);
  std::vector<std::vector<int32_t>> found(3);
  std::vector<std::thread> threads;
  for (auto& result : found) threads.emplace_back([&] { result = tokenizer->encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : found) CHECK(result == expected);
}
