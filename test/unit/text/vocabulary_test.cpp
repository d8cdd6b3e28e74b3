#include "text/vocabulary.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/rng.h"
#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

// A few hundred sentences over a small made-up language.
std::string corpus(uint64_t seed = 1) {
  const std::vector<std::string> words = {"das",    "haus",    "hund", "läuft",  "schnell", "über",   "die",
                                          "straße", "ein",     "kind", "spielt", "im",      "garten", "mit",
                                          "einem",  "ball",    "und",  "lacht",  "frau",    "liest",  "buch",
                                          "am",     "fenster", "rot",  "grün",   "blau",    "1984"};
  Rng rng(seed, "corpus");
  std::string text;
  for (int i = 0; i < 400; ++i) {
    for (uint64_t n = 4 + rng.below(8); n > 0; --n) text += words[rng.below(words.size())] + (n == 1 ? " ." : " ");
    text += "\n";
  }
  return text;
}

VocabularyTraining options(int64_t size, const std::string& type = "bpe") {
  VocabularyTraining options;
  options.size = size;
  options.type = type;
  return options;
}

Failure training_failure(const std::string& text, const VocabularyTraining& options) {
  TempDir dir;
  const std::string path = put(dir / "text", text);
  return failure_of([&] { train_vocabulary({path}, options, dir / "v"); });
}

// What SentencePiece's own files look like on the wire.
std::string field(int number, const std::string& bytes) {
  std::string text(1, static_cast<char>(number << 3 | 2));
  for (size_t rest = bytes.size();; rest >>= 7) {
    text += static_cast<char>((rest & 0x7F) | (rest > 0x7F ? 0x80 : 0));
    if (rest <= 0x7F) return text + bytes;
  }
}
std::string number(int field, int value) { return {static_cast<char>(field << 3), static_cast<char>(value)}; }
std::string piece(const std::string& text, int type) { return field(1, field(1, text) + number(3, type)); }

constexpr int kNormal = 1, kUnknown = 2, kControl = 3;

Failure load_failure(const std::string& model) {
  TempDir dir;
  const std::string path = put(dir / "v.spm", model);
  return failure_of([&] { Vocabulary vocabulary(path); });
}

}  // namespace

TEST_CASE("a vocabulary is trained, loaded and used") {
  TempDir dir;
  const std::string plain = put(dir / "a.txt", corpus(1)), packed = put(dir / "b.gz", gzip(corpus(2)));
  for (const char* type : {"bpe", "unigram"}) {
    CAPTURE(type);
    train_vocabulary({plain, packed}, options(300, type), dir / "v.spm");
    const Vocabulary vocabulary(dir / "v.spm");
    CHECK(vocabulary.size() == 300);
    CHECK(vocabulary.unk() == 0);
    CHECK(vocabulary.bos() == 1);
    CHECK(vocabulary.eos() == 2);
    CHECK(vocabulary.pad() == 3);
    CHECK(vocabulary.piece(2) == "</s>");
    for (const std::string text : {"das haus", "ein kind spielt .", "völlig Unbekanntes: 漢字 😀"}) {
      const std::vector<int32_t> ids = vocabulary.encode(text);
      for (const int32_t id : ids) CHECK((id > 3 && id < 300));
      CHECK(vocabulary.decode(ids) == text);
    }
    CHECK(vocabulary.encode("").empty());
    CHECK(vocabulary.decode({}).empty());
    CHECK(vocabulary.encode("das haus").size() <= 8);
  }
  CHECK(dir.names() == std::vector<std::string>{"a.txt", "b.gz", "v.spm"});
}

TEST_CASE("training a vocabulary is deterministic") {
  TempDir dir;
  const std::string path = put(dir / "text", corpus());
  for (const char* type : {"bpe", "unigram"}) {
    train_vocabulary({path}, options(300, type), dir / "a");
    train_vocabulary({path}, options(300, type), dir / "b");
    CHECK(get(dir / "a") == get(dir / "b"));
  }
}

TEST_CASE("a larger corpus than wanted is thinned out evenly") {
  TempDir dir;
  std::string text, half;
  for (int i = 0; i < 100; ++i) {
    const std::string line = fmt::format("satz nummer {} von hundert\n", i * 7919 % 1000);
    text += line;
    if (i % 2 == 1) half += line;
  }
  VocabularyTraining sampled = options(290);
  sampled.max_sentences = 50;
  train_vocabulary({put(dir / "all", text)}, sampled, dir / "a");
  train_vocabulary({put(dir / "half", half)}, sampled, dir / "b");
  CHECK(get(dir / "a") == get(dir / "b"));
}

TEST_CASE("control symbols are dropped, and a text stays one line") {
  TempDir dir;
  train_vocabulary({put(dir / "text", corpus())}, options(300), dir / "v");
  const Vocabulary vocabulary(dir / "v");
  std::vector<int32_t> ids = vocabulary.encode("das haus");
  ids.insert(ids.begin(), vocabulary.bos());
  ids.push_back(vocabulary.eos());
  ids.push_back(vocabulary.pad());
  CHECK(vocabulary.decode(ids) == "das haus");
  const int32_t first_byte = 4;
  REQUIRE(vocabulary.piece(first_byte) == "<0x00>");
  std::vector<int32_t> bytes = vocabulary.encode("x");
  for (const int byte : {0x0A, 0x0D, 0x00, 0x09}) bytes.push_back(first_byte + byte);
  CHECK(vocabulary.decode(bytes) == "x   \t");
}

TEST_CASE("any bytes give ids") {
  TempDir dir;
  train_vocabulary({put(dir / "text", corpus())}, options(300), dir / "bytes");
  VocabularyTraining no_bytes = options(64);
  no_bytes.byte_fallback = false;
  train_vocabulary({put(dir / "text", corpus())}, no_bytes, dir / "plain");
  for (const char* name : {"bytes", "plain"}) {
    const Vocabulary vocabulary(dir / name);
    Rng rng(3, name);
    for (int i = 0; i < 500; ++i) {
      std::string text(rng.below(40), 'x');
      for (char& c : text) c = static_cast<char>(rng.below(256));
      for (const int32_t id : vocabulary.encode(text)) REQUIRE((id >= 0 && id < vocabulary.size()));
      REQUIRE(vocabulary.decode(vocabulary.encode(text)).find('\n') == std::string::npos);
    }
  }
  const std::vector<int32_t> ids = Vocabulary(dir / "plain").encode("漢");
  CHECK(std::count(ids.begin(), ids.end(), 0) == 1);
}

TEST_CASE("ids outside the vocabulary are errors") {
  TempDir dir;
  train_vocabulary({put(dir / "text", corpus())}, options(300), dir / "v");
  const Vocabulary vocabulary(dir / "v");
  CHECK(failure_of([&] { vocabulary.decode({300}); }).says("no piece has the id 300, expected 0 to 299"));
  CHECK(failure_of([&] { vocabulary.decode({-1}); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { vocabulary.piece(300); }).exit_code == kExitFailure);
}

TEST_CASE("one vocabulary serves many threads") {
  TempDir dir;
  train_vocabulary({put(dir / "text", corpus())}, options(300), dir / "v");
  const Vocabulary vocabulary(dir / "v");
  const std::string text = "ein kind spielt im garten";
  const std::vector<int32_t> expected = vocabulary.encode(text);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i)
        count += vocabulary.encode(text) != expected || vocabulary.decode(expected) != text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("a vocabulary size that cannot be had is an error that tells which would do") {
  for (const char* type : {"bpe", "unigram"}) {
    const Failure large = training_failure(corpus(), options(50000, type));
    INFO(large.message);
    CHECK(large.exit_code == kExitFailure);
    REQUIRE(large.says("a vocabulary of 50000 pieces is too large for "));
    const int64_t most = std::stoll(large.message.substr(large.message.find("at most ") + 8));
    CHECK(training_failure(corpus(), options(most, type)).exit_code == 0);
    CHECK(training_failure(corpus(), options(most + 1, type)).says("too large"));
    const Failure small = training_failure(corpus(), options(100, type));
    REQUIRE(small.says("a vocabulary of 100 pieces is too small"));
    CHECK(small.says("no byte fallback") == options(100, type).byte_fallback);
    const int64_t least = std::stoll(small.message.substr(small.message.find("at least ") + 9));
    CHECK_FALSE(training_failure(corpus(), options(least, type)).says("too small"));
  }
}

TEST_CASE("a corpus without text is an error") {
  for (const std::string text : {"", "\n\n", " \t \n", "\u3000\u200B\n", "\u2585\n"}) {
    for (const char* type : {"bpe", "unigram"}) {
      CAPTURE(text, type);
      CHECK(training_failure(text, options(300, type)).says("holds no text"));
    }
  }
}

TEST_CASE("awkward corpora train or fail with an error") {
  std::string marks;
  for (int i = 0; i < 20; ++i) marks += "<s> </s> <unk> \u2581\u2581 <0x41> \t x \u2585 y\n";
  for (const char* type : {"bpe", "unigram"}) {
    CHECK(training_failure(marks, options(290, type)).exit_code <= kExitFailure);
    // Words past 65,535 characters end SentencePiece's own trainer.
    CHECK(training_failure(std::string(200000, 'a') + "\nein wort\n", options(280, type)).exit_code == 0);
  }
}

TEST_CASE("bad training input and options are errors") {
  TempDir dir;
  CHECK(training_failure("a\nsch\xF6n\n", options(300)).says("text:2: byte 4"));
  CHECK(training_failure("a\r\n", options(300)).says("text:1: the line ends in a carriage return"));
  CHECK(failure_of([&] { train_vocabulary({dir / "none"}, options(300), dir / "v"); }).says("No such file"));
  CHECK(failure_of([&] { train_vocabulary({"-"}, options(300), dir / "v"); }).says("standard input"));
  CHECK(failure_of([&] { train_vocabulary({}, options(300), dir / "v"); }).exit_code == kExitUsage);
  CHECK(training_failure(corpus(), options(4)).exit_code == kExitUsage);
  CHECK(training_failure(corpus(), options(300, "word")).says("expected bpe or unigram"));
  VocabularyTraining odd = options(300);
  odd.character_coverage = 2;
  CHECK(training_failure(corpus(), odd).exit_code == kExitUsage);
  odd = options(300);
  odd.threads = 0;
  CHECK(training_failure(corpus(), odd).exit_code == kExitUsage);
  put(dir / "text", corpus());
  CHECK(failure_of([&] { train_vocabulary({dir / "text"}, options(300), "/dev/full"); }).says("No space left"));
}

TEST_CASE("files that are no vocabulary are errors that name them") {
  TempDir dir;
  CHECK(failure_of([&] { Vocabulary vocabulary(dir / "none"); }).says("No such file"));
  CHECK(failure_of([&] { Vocabulary vocabulary(dir.path()); }).says("it is a directory"));
  CHECK(load_failure("").says("v.spm: damaged vocabulary: it has no pieces"));
  CHECK(load_failure("just text\n").says("v.spm: damaged vocabulary"));
  CHECK(load_failure(std::string(1000, '\xFF')).says("damaged vocabulary"));
}

TEST_CASE("a vocabulary cut off anywhere loads or fails, and never crashes") {
  TempDir dir;
  train_vocabulary({put(dir / "text", corpus())}, options(300), dir / "v");
  const std::string whole = get(dir / "v");
  for (size_t size = 0; size < whole.size(); size += size < 5000 ? 97 : 9973) {
    const Failure failure = load_failure(whole.substr(0, size));
    if (!failure.says("v.spm")) FAIL(size << ": " << failure.message);
  }
  Rng rng(5, "damage");
  for (int i = 0; i < 60; ++i) {
    std::string model = whole;
    for (int k = 0; k < 4; ++k) model[rng.below(model.size())] = static_cast<char>(rng.below(256));
    put(dir / "damaged", model);
    failure_of([&] {
      const Vocabulary vocabulary(dir / "damaged");
      vocabulary.decode(vocabulary.encode("ein ﬁnger … Straße"));
    });
  }
}

TEST_CASE("what a vocabulary must have is checked") {
  const std::string good =
      piece("<unk>", kUnknown) + piece("<s>", kControl) + piece("</s>", kControl) + piece("a", kNormal);
  CHECK(load_failure(good).exit_code == 0);
  CHECK(load_failure(piece("<unk>", kUnknown) + piece("a", kNormal)).says("no end-of-sentence piece"));
  CHECK(load_failure(piece("</s>", kControl) + piece("a", kNormal)).exit_code ==
        kExitFailure);                                                        // no unknown piece
  CHECK(load_failure(good + piece("a", kNormal)).exit_code == kExitFailure);  // twice
  CHECK(load_failure(good + piece("", kNormal)).says("piece 4 has no text"));
  CHECK(load_failure(good + piece("\xFF", kNormal)).says("piece 4 is not valid UTF-8"));
  CHECK(load_failure(good + piece(std::string("a\0", 2), kNormal)).says("piece 4 holds a NUL byte"));
  CHECK(load_failure(good + field(1, field(1, "b") + std::string("\x15\x00\x00\xC0\x7F", 5)))
            .says("no finite number"));
  TempDir dir;
  const Vocabulary vocabulary(
      put(dir / "v", piece("<unk>", kUnknown) + piece("</s>", kControl) + piece("a", kNormal)));
  CHECK(vocabulary.eos() == 1);
  CHECK(vocabulary.bos() == 1);  // it has none
  CHECK(vocabulary.pad() == 1);
}

TEST_CASE("normalisation rules that point outside their tables are refused") {
  const std::string good = piece("<unk>", kUnknown) + piece("</s>", kControl) + piece("a", kNormal);
  const auto with_map = [&](const std::string& map) { return load_failure(good + field(3, field(2, map))); };
  std::string trie(1024, '\0');
  const std::string size("\x00\x04\x00\x00", 4);
  CHECK(with_map(size + trie + std::string(1, '\0')).exit_code == 0);
  CHECK(with_map("ab").says("too short"));
  CHECK(with_map(std::string("\xFF\xFF\xFF\x7F", 4) + trie).says("normalisation rules"));
  CHECK(with_map(size + trie).says("normalisation rules"));
  CHECK(with_map(size + trie + "x").says("have no end"));
  trie[1] = 0x40;  // offset 16: stays inside
  CHECK(with_map(size + trie + std::string(1, '\0')).exit_code == 0);
  trie[3] = 0x7F;  // far outside
  CHECK(with_map(size + trie + std::string(1, '\0')).says("points outside its table"));
  trie[3] = 0;
  trie[1] = 0x41;  // a value at offset 16 ...
  trie[64] = 9;    // ... past the end of the texts
  CHECK(with_map(size + trie + std::string(1, '\0')).says("points outside its texts"));
  trie.assign(1024, '\0');
  trie[2] = 0x40, trie[3] = '\x80';  // the first unit is a value and points outside
  CHECK(with_map(size + trie + std::string(1, '\0')).says("points outside its table"));
}
