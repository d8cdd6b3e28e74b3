#include "data/corpus.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/rng.h"
#include "support/files.h"
#include "support/rewrites.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::data;
using namespace seqmill::test;

namespace {

const std::string kSource = "ein haus\n\ndas kind spielt im garten\nhund\ndie frau\n";
const std::string kTarget =
    "a house\nnothing\nthe child plays in the garden\na very very very very very long dog indeed\nthe woman\n";

/// A folder with a small corpus and a vocabulary, trained once.
struct Fixture {
  Fixture() : source(put(dir / "a.de", kSource)), target(put(dir / "a.en", kTarget)) {}

  static const text::Vocabulary& vocabulary() {
    static const text::Vocabulary trained = [] {
      TempDir folder;
      std::string text;
      for (int i = 0; i < 20; ++i) text += kSource + kTarget;
      text::VocabularyTraining options;
      options.size = 330;
      text::train_vocabulary({put(folder / "text", text)}, options, folder / "v");
      return text::Vocabulary(folder / "v");
    }();
    return trained;
  }

  ParallelCorpus open(const CorpusLimits& limits = {}) const {
    return ParallelCorpus(source, target, vocabulary(), vocabulary(), limits, dir / "cache");
  }
  Failure failure(const CorpusLimits& limits = {}) const {
    return failure_of([&] { open(limits); });
  }
  bool rebuilds(const CorpusLimits& limits = {}) const {
    return rewrites(dir / "cache", [&] { open(limits); });
  }

  TempDir dir;
  std::string source, target;
};

Tokens encode(const std::string& text) { return Fixture::vocabulary().encode(text); }

}  // namespace

TEST_CASE("a corpus holds the ids of its pairs", "[corpus]") {
  const Fixture fixture;
  const ParallelCorpus corpus = fixture.open();
  REQUIRE(corpus.size() == 4);
  const std::vector<std::pair<std::string, std::string>> pairs{
      {"ein haus", "a house"},
      {"das kind spielt im garten", "the child plays in the garden"},
      {"hund", "a very very very very very long dog indeed"},
      {"die frau", "the woman"}};
  int64_t source_tokens = 0, target_tokens = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto pair = static_cast<int64_t>(i);
    CHECK(corpus.source(pair) == encode(pairs[i].first));
    CHECK(corpus.target(pair) == encode(pairs[i].second));
    CHECK(corpus.source_length(pair) == static_cast<int64_t>(encode(pairs[i].first).size()));
    CHECK(corpus.target_length(pair) == static_cast<int64_t>(encode(pairs[i].second).size()));
    source_tokens += corpus.source_length(pair);
    target_tokens += corpus.target_length(pair);
  }
  CHECK(corpus.counts().source_tokens == source_tokens);
  CHECK(corpus.counts().target_tokens == target_tokens);
  CHECK(fixture.dir.names() == std::vector<std::string>{"a.de", "a.en", "cache"});
}

TEST_CASE("pairs that are left out are counted by reason", "[corpus]") {
  const Fixture fixture;
  const CorpusCounts all = fixture.open().counts();
  CHECK((all.lines == 5 && all.kept == 4 && all.empty == 1 && all.too_long == 0 && all.ratio == 0));
  const CorpusCounts ratio = fixture.open({256, 2.5}).counts();
  CHECK((ratio.lines == 5 && ratio.kept == 3 && ratio.empty == 1 && ratio.too_long == 0 && ratio.ratio == 1));
  const auto dog = static_cast<int64_t>(encode("a very very very very very long dog indeed").size());
  REQUIRE(dog > static_cast<int64_t>(encode("das kind spielt im garten").size()));
  const CorpusCounts exact = fixture.open({dog, 0}).counts();
  CHECK((exact.kept == 4 && exact.too_long == 0));
  const CorpusCounts shorter = fixture.open({dog - 1, 2.5}).counts();  // too long comes before the ratio
  CHECK((shorter.kept == 3 && shorter.too_long == 1 && shorter.ratio == 0));
}

TEST_CASE("a cache is used again while nothing changes", "[corpus]") {
  const Fixture fixture;
  fixture.open();
  CHECK_FALSE(fixture.rebuilds());
  const ParallelCorpus again = fixture.open();
  CHECK(again.counts().lines == 5);
  CHECK(again.source(0) == encode("ein haus"));
}

TEST_CASE("a cache is made anew when the text, the limits or a vocabulary change", "[corpus]") {
  const Fixture fixture;
  fixture.open();
  CHECK(fixture.rebuilds({100, 0}));
  CHECK_FALSE(fixture.rebuilds({100, 0}));
  CHECK(fixture.rebuilds({100, 3}));
  const auto written = std::filesystem::last_write_time(fixture.target);
  put(fixture.target, "a horse" + kTarget.substr(7));  // of equal size, and nearly at once
  std::filesystem::last_write_time(fixture.target, written + std::chrono::microseconds(1));
  CHECK(fixture.rebuilds({100, 3}));
  CHECK(fixture.open({100, 3}).target(0) == encode("a horse"));
  put(fixture.source, "mehr\n" + kSource);
  put(fixture.target, "more\n" + kTarget);
  CHECK(fixture.open({100, 3}).counts().lines == 6);

  text::VocabularyTraining options;
  options.size = 300;
  text::train_vocabulary({fixture.source, fixture.target}, options, fixture.dir / "v");
  const text::Vocabulary other(fixture.dir / "v");
  const ParallelCorpus corpus(fixture.source, fixture.target, other, Fixture::vocabulary(), {100, 3}, fixture.dir / "cache");
  CHECK(corpus.source(1) == other.encode("ein haus"));
}

TEST_CASE("a damaged cache is made anew", "[corpus]") {
  const Fixture fixture;
  fixture.open();
  const std::string whole = get(fixture.dir / "cache");
  std::string other_magic = whole;
  other_magic[0] ^= 1;
  for (const std::string& damaged : {std::string(), whole.substr(0, 20), whole.substr(0, whole.size() - 1), whole + "x",
                                     other_magic, std::string(whole.size(), '\0')}) {
    CAPTURE(damaged.size());
    put(fixture.dir / "cache", damaged);
    const ParallelCorpus corpus = fixture.open();
    CHECK(corpus.size() == 4);
    CHECK(corpus.target(3) == encode("the woman"));
    CHECK(get(fixture.dir / "cache") == whole);
  }
}

TEST_CASE("compressed text and TSV", "[corpus]") {
  const Fixture fixture;
  const std::string de = put(fixture.dir / "a.de.gz", gzip(kSource)), en = put(fixture.dir / "a.en.gz", gzip(kTarget));
  const auto& vocabulary = Fixture::vocabulary();
  const ParallelCorpus packed(de, en, vocabulary, vocabulary, {}, fixture.dir / "gz");
  CHECK(packed.size() == 4);
  CHECK(packed.target(1) == encode("the child plays in the garden"));
  const std::string tsv = put(fixture.dir / "a.tsv", "ein haus\ta house\n\tx\ndie frau\tthe woman\n");
  const ParallelCorpus table(tsv, "", vocabulary, vocabulary, {}, fixture.dir / "tsv");
  CHECK(table.size() == 2);
  CHECK(table.counts().empty == 1);
  CHECK(table.source(1) == encode("die frau"));
}

TEST_CASE("a large corpus keeps its order", "[corpus]") {
  const Fixture fixture;
  std::string source, target;
  constexpr int64_t kLines = 20000;
  for (int64_t i = 0; i < kLines; ++i) {
    source += std::to_string(i) + "\n";
    target += i % 7 == 0 ? "\n" : std::to_string(i * 3) + "\n";
  }
  put(fixture.source, source);
  put(fixture.target, target);
  const ParallelCorpus corpus = fixture.open();
  CHECK(corpus.counts().lines == kLines);
  CHECK(corpus.counts().empty == kLines / 7 + 1);
  int64_t pair = 0;
  for (int64_t i = 0; i < kLines; ++i) {
    if (i % 7 == 0) continue;
    if (i % 97 == 0) {
      REQUIRE(corpus.source(pair) == encode(std::to_string(i)));
      REQUIRE(corpus.target(pair) == encode(std::to_string(i * 3)));
    }
    ++pair;
  }
  CHECK(pair == corpus.size());
}

TEST_CASE("what cannot be trained on is an error", "[corpus]") {
  const Fixture fixture;
  const Failure none = fixture.failure({1, 0});
  CHECK((none.says(fixture.source) && none.says("1 empty") && none.says("4 with more than 1 tokens")));
  put(fixture.target, "a house\nnothing\n");
  const Failure misaligned = fixture.failure();
  CHECK((misaligned.says(fixture.target + " ends after line 2") && misaligned.says(fixture.source + " goes on")));
  CHECK(misaligned.exit_code == 1);
  put(fixture.source, "");
  put(fixture.target, "");
  CHECK(fixture.failure().says(fixture.source + " is empty"));
  std::filesystem::remove(fixture.source);
  CHECK(fixture.failure().says(fixture.source));
  for (const std::string& name : fixture.dir.names()) CHECK((name[0] == 'a' || name == "cache"));
}
