// Tokenisers of language models over SentencePiece; the vocabularies themselves are in vocabulary_test.cpp.
#include <catch2/catch.hpp>

#include "base/rng.h"
#include "support/files.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

// SentencePiece's files on the wire.
std::string varint(size_t value) {
  std::string text;
  for (; value > 0x7F; value >>= 7) text += static_cast<char>((value & 0x7F) | 0x80);
  return text + static_cast<char>(value);
}
std::string field(int number, const std::string& bytes) { return static_cast<char>(number << 3 | 2) + varint(bytes.size()) + bytes; }
std::string number(int field, size_t value) { return varint(static_cast<size_t>(field) << 3) + varint(value); }
std::string score(float value) { return std::string("\x15") + std::string(reinterpret_cast<const char*>(&value), sizeof value); }

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

std::string piece(const std::string& text, int type, float rank = 0) { return field(1, field(1, text) + score(rank) + number(3, static_cast<size_t>(type))); }

// As Llama's tokenizer.model: BPE, bytes behind the control symbols, no normalisation, a space put before a text.
std::string llama_like(const std::string& more = "", bool prefix = true) {
  std::string model = piece("<unk>", kUnknown) + piece("<s>", kControl) + piece("</s>", kControl);
  for (int byte = 0; byte < 256; ++byte) model += piece(fmt::format("<0x{:02X}>", byte), kByte);
  float rank = 0;
  for (const char* text : {"▁▁", "▁t", "he", "▁the", "in", "▁", "t", "h", "e", "i", "n", "a"}) model += piece(text, kNormal, rank--);
  model += more;
  model += field(2, number(3, 2) + number(35, 1));                                     // BPE with bytes for what is unknown
  model += field(3, field(1, "identity") + number(3, prefix ? 1 : 0) + number(4, 0));  // no white space removed
  return model;
}

std::shared_ptr<const Tokenizer> load(const std::string& model) {
  TempDir dir;
  return load_tokenizer(put(dir / "tokenizer.model", model));
}

std::string pieces_of(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string pieces;
  for (const int32_t id : ids) pieces += (pieces.empty() ? "" : "|") + tokenizer.piece(id);
  return pieces;
}
std::string pieces_of(const Tokenizer& tokenizer, const std::string& text) { return pieces_of(tokenizer, tokenizer.encode(text)); }

std::string random_text(Rng& rng) {
  static const std::vector<std::string> parts = {" ",  "  ", "\t", "\n", "\r\n", "\r", "a",  "the ", "in",     "é",      "ß",  "漢",           "😀",
                                                 "▁", "▅",  "⁇",  "\u0301", "\u00a0", "\u3000", "\u200b", "\ufeff", "<s>", "</s>", "<0x41>", "<unk>", "\x01", "\u2028"};
  std::string text;
  for (uint64_t n = rng.below(25); n > 0; --n) {
    if (rng.below(5) > 0) {
      text += parts[rng.below(parts.size())];
      continue;
    }
    const uint64_t c = 1 + rng.below(0x10FFFF);
    if (c < 0xD800 || c > 0xDFFF) append_utf8(text, static_cast<char32_t>(c));
  }
  return text;
}

VocabularyTraining verbatim(int64_t size, const std::string& type) {
  VocabularyTraining options;
  options.size = size;
  options.type = type;
  options.verbatim = true;
  return options;
}

std::string code() {
  std::string text;
  for (int i = 0; i < 300; ++i) text += fmt::format("def  f{}(x):\n    if x:\n        return\tx + {}\n\n  the river ▁▂▃ runs   down\n", i % 10, i);
  return text;
}

}  // namespace

TEST_CASE("a SentencePiece tokeniser keeps line ends and drops the space it put before a text") {
  const auto tokenizer = load(llama_like());
  CHECK(tokenizer->size() == 3 + 256 + 12);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(pieces_of(*tokenizer, "the\n\nhe") == "▁the|<0x0A>|<0x0A>|he");
  CHECK(pieces_of(*tokenizer, " the") == "▁▁|t|he");  // as SentencePiece: the first merge wins
  const std::vector<int32_t> ids = tokenizer->encode("the in");
  CHECK(pieces_of(*tokenizer, ids) == "▁the|▁|in");
  CHECK(tokenizer->decode(ids) == "the in");
  CHECK(tokenizer->decode(ids, true) == " the in");
  CHECK(pieces_of(*tokenizer, tokenizer->encode_continued("the in")) == "t|he|▁|in");
  CHECK(tokenizer->decode(tokenizer->encode("é")) == "é");
  CHECK(tokenizer->decode({3 + 0xC3}, true) == "\xC3");  // cut within a character
  CHECK(tokenizer->decode({1, ids[0], 2}) == "the");
  CHECK(tokenizer->decode({0}) == " \u2047 ");
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->decode({}).empty());
  for (const std::string text : {"the", " the", "  the", "a\r\nb\tc \n", " ", "\n", "\x01"}) CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
  const std::string nul("a\0b", 3);
  CHECK(tokenizer->decode(tokenizer->encode(nul)) == nul);
  CHECK(failure_of([&] { tokenizer->decode({500}); }).says("no piece has the id 500, expected 0 to 270"));
  CHECK(failure_of([&] { tokenizer->encode("a\xC3"); }).says("byte 2 (0xC3) is not valid UTF-8"));
}

TEST_CASE("control symbols are special and never found in texts") {
  const auto tokenizer = load(llama_like(piece("[INST]", kControl) + piece("<mine>", kUserDefined)));
  CHECK(tokenizer->special("<s>") == 1);
  CHECK(tokenizer->special("</s>") == 2);
  CHECK(tokenizer->special("[INST]") == 271);
  CHECK(tokenizer->special("<mine>") == -1);
  CHECK(tokenizer->special("<0x0A>") == -1);
  CHECK(tokenizer->is_special(271));
  CHECK_FALSE(tokenizer->is_special(272));
  const std::vector<int32_t> ids = tokenizer->encode("<s>[INST]</s><0x0A><mine>");
  for (const int32_t id : ids) CHECK_FALSE(tokenizer->is_special(id));
  CHECK(ids.back() == 272);
  CHECK(tokenizer->decode(ids) == "<s>[INST]</s><0x0A><mine>");
}

TEST_CASE("a directory adds tokens to a model") {
  TempDir dir;
  put(dir / "tokenizer.model", llama_like(piece("<user>", kUserDefined)));
  put(dir / "added_tokens.json", R"({"<|im_end|>": 272, "<|im_start|>": 273})");
  {
    const auto tokenizer = load_tokenizer(dir.path());
    CHECK(tokenizer->size() == 274);
    CHECK(tokenizer->special("<|im_start|>") == 273);
    CHECK(tokenizer->eos() == 2);
  }
  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"0": {"content": "<unk>", "special": true}, "1": {"content": "<s>", "special": true},
      "271": {"content": "<user>", "special": true}, "272": {"content": "<|im_end|>", "special": true},
      "274": {"content": "<tool>", "special": false}}, "eos_token": "<|im_end|>", "model_max_length": 1000000000000000019884624838656})");
  const auto tokenizer = load_tokenizer(dir.path());
  CHECK(tokenizer->size() == 275);
  CHECK(tokenizer->eos() == 272);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->special("<user>") == 271);
  const std::vector<int32_t> ids = tokenizer->encode("the<|im_end|><tool>the<user>");
  for (const int32_t id : ids) CHECK_FALSE(tokenizer->is_special(id));
  CHECK(std::count(ids.begin(), ids.end(), 274) == 1);
  CHECK(tokenizer->decode(ids) == "the<|im_end|><tool>the<user>");
  CHECK(tokenizer->decode({272, 274}) == "<tool>");
  TempDir to;
  copy_tokenizer(*tokenizer, to.path());
  CHECK(to.names() == std::vector<std::string>{"added_tokens.json", "tokenizer.model", "tokenizer_config.json"});
  CHECK(same_pieces(*load_tokenizer(to.path()), *tokenizer));

  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"1": {"content": "<other>", "special": true}}})");
  CHECK(failure_of([&] { load_tokenizer(dir.path()); }).says("the id 1 of \"<other>\" is that of \"<s>\""));
  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"9999999": {"content": "<far>"}}})");
  CHECK(failure_of([&] { load_tokenizer(dir.path()); }).says("found the id 9999999 of \"<far>\", expected at most"));
  put(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "<far>"}}})");
  CHECK(failure_of([&] { load_tokenizer(dir.path()); }).says("tokenizer_config.json: added_tokens_decoder: found the key \"x\", expected an id"));
}

TEST_CASE("a vocabulary beside a copy is one file") {
  TempDir from, to;
  const auto tokenizer = load_tokenizer(put(from / "my.spm", llama_like()));
  copy_tokenizer(*tokenizer, to.path());
  CHECK(to.names() == std::vector<std::string>{"vocab.spm"});
  CHECK(same_pieces(*load_tokenizer(to.path()), *tokenizer));
}

TEST_CASE("decoding agrees with SentencePiece, but for line ends") {
  TempDir dir;
  VocabularyTraining options;
  options.size = 320;
  train_vocabulary({put(dir / "text", code())}, options, dir / "vocab.spm");
  const Vocabulary vocabulary(dir / "vocab.spm");
  const auto tokenizer = load_tokenizer(dir.path());
  Rng rng(3, "ids");
  for (int i = 0; i < 2000; ++i) {
    std::vector<int32_t> ids(rng.below(12));
    for (int32_t& id : ids) id = rng.below(2) == 0 ? static_cast<int32_t>(260 + rng.below(60)) : static_cast<int32_t>(rng.below(4));
    CAPTURE(pieces_of(*tokenizer, ids));
    CHECK(tokenizer->decode(ids) == vocabulary.decode(ids));
  }
  for (int i = 0; i < 200; ++i) {
    const std::string text = random_text(rng);
    CHECK(tokenizer->encode(text) == vocabulary.encode(text));
  }
}

TEST_CASE("templates with a model that puts a space before a text") {
  TempDir dir;
  put(dir / "tokenizer.model", llama_like());
  put(dir / "added_tokens.json", R"({"<|im_start|>": 271, "<|im_end|>": 272})");
  const auto tokenizer = load_tokenizer(dir.path());
  const std::vector<Message> question = {{"user", "the"}}, answered = {{"user", "the"}, {"assistant", "in"}};
  const auto tokens = [&](const char* name) { return pieces_of(*tokenizer, make_chat_template(name, *tokenizer)->conversation(answered).tokens); };
  // Each turn of Llama 2 is one text to SentencePiece, the answer too: "[INST] the [/INST] in ".
  CHECK(tokens("llama-2") == "<s>|" + pieces_of(*tokenizer, "[INST] the [/INST] in ") + "|</s>");
  CHECK(tokens("plain") == "<s>|▁the|in|</s>");
  CHECK(tokens("chatml") == "<|im_start|>|" + pieces_of(*tokenizer, "user\nthe") + "|<|im_end|>|" + pieces_of(*tokenizer, "\n") + "|<|im_start|>|" +
                                pieces_of(*tokenizer, "assistant\n") + "|in|<|im_end|>|" + pieces_of(*tokenizer, "\n"));
  put(dir / "own.yaml", "user: '{content}'\nassistant: '<|im_start|>{content}<|im_end|>'\n");
  for (const std::string& name : {std::string("plain"), std::string("alpaca"), std::string("chatml"), std::string("llama-2"), dir / "own.yaml"}) {
    CAPTURE(name);
    const auto made = make_chat_template(name, *tokenizer);
    const std::vector<int32_t> prompt = made->prompt(question);
    const ChatTokens whole = made->conversation(answered);
    REQUIRE(std::equal(prompt.begin(), prompt.end(), whole.tokens.begin()));
    std::vector<int32_t> answer;
    for (size_t i = 0; i < whole.tokens.size(); ++i) {
      if (whole.learned[i]) answer.push_back(whole.tokens[i]);
    }
    CHECK(made->answer_text(prompt, answer) == "in");
  }
  // A vocabulary trained from scratch has no special tokens but its symbols.
  TempDir scratch;
  train_vocabulary({put(scratch / "text", code())}, verbatim(320, "bpe"), scratch / "vocab.spm");
  const auto own = load_tokenizer(scratch.path());
  CHECK(failure_of([&] { make_chat_template("chatml", *own); }).exit_code == kExitUsage);
  put(scratch / "own.yaml", "user: \"Q: {content}\\n\"\nassistant: \"A: {content}</s>\\n\"\n");
  const ChatTokens marked = make_chat_template(scratch / "own.yaml", *own)->conversation(answered);
  CHECK(own->decode(marked.tokens) == "Q: the\nA: in\n");
  CHECK(std::count(marked.tokens.begin(), marked.tokens.end(), own->eos()) == 1);
}

TEST_CASE("a long text is encoded as SentencePiece does it in one go") {
  TempDir dir;
  const std::string text = put(dir / "text", code());
  for (const char* type : {"bpe", "unigram"}) {
    train_vocabulary({text}, verbatim(320, type), dir / "verbatim.spm");
    for (const std::string& path : {dir / "verbatim.spm", put(dir / "llama.spm", llama_like())}) {
      const Vocabulary vocabulary(path);
      const auto tokenizer = load_tokenizer(path);
      Rng rng(11, path == dir / "verbatim.spm" ? type : "llama");
      for (int i = 0; i < 10; ++i) {
        std::string longer = i == 0 ? code() + " \u2581 " : "";
        while (i > 0 && longer.size() < 12'000) longer += rng.below(3) == 0 ? random_text(rng) : rng.below(2) == 0 ? "   " : " the river";
        for (size_t at = 0; path == dir / "verbatim.spm" && (at = longer.find("\u2581", at)) != std::string::npos;) longer.replace(at, 3, "_");
        REQUIRE(tokenizer->encode(longer) == vocabulary.encode(longer));
      }
    }
  }
}

TEST_CASE("a vocabulary trained verbatim gives every text back") {
  TempDir dir;
  const std::string text = put(dir / "text", code());
  for (const char* type : {"bpe", "unigram"}) {
    CAPTURE(type);
    train_vocabulary({text}, verbatim(320, type), dir / "vocab.spm");
    const auto tokenizer = load_tokenizer(dir.path());
    CHECK(tokenizer->size() == 320);
    CHECK(tokenizer->bos() == 1);
    CHECK(tokenizer->eos() == 2);
    Rng rng(7, "round trip");
    for (int i = 0; i < 1500; ++i) {
      const std::string original = i == 0 ? code() : random_text(rng);
      const std::vector<int32_t> ids = tokenizer->encode(original);
      for (const int32_t id : ids) REQUIRE(id > 3);
      REQUIRE(tokenizer->decode(ids) == original);
      REQUIRE(tokenizer->decode(ids, true) == original);
      REQUIRE(tokenizer->encode_continued(original) == ids);
    }
    const std::string nul("a\0 b", 4);
    CHECK(tokenizer->decode(tokenizer->encode(nul)) == nul);
    CHECK(tokenizer->encode("        return").size() <= 9);  // runs of spaces are pieces too, or at worst a space each
  }
  VocabularyTraining options = verbatim(360, "bpe");
  options.byte_fallback = false;
  CHECK(failure_of([&] { train_vocabulary({text}, options, dir / "v"); }).exit_code == kExitUsage);
  CHECK(failure_of([&] { train_vocabulary({put(dir / "empty", "\n \n")}, verbatim(360, "unigram"), dir / "v"); }).says("holds no text"));
}
