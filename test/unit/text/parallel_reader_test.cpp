#include "text/parallel_reader.h"

#include <catch2/catch.hpp>

#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs_of(const std::string& source, const std::string& target) {
  ParallelReader reader(source, target);
  Pairs pairs;
  for (std::string a, b; reader.next(a, b);) pairs.emplace_back(a, b);
  return pairs;
}

}  // namespace

TEST_CASE("two files are read side by side") {
  TempDir dir;
  const std::string de = put(dir / "a.de", "ein\n\nzwei\tx\n"), en = put(dir / "a.en", gzip("one\nnone\ntwo"));
  CHECK(pairs_of(de, en) == Pairs{{"ein", "one"}, {"", "none"}, {"zwei\tx", "two"}});
  ParallelReader reader(de, en);
  std::string a, b;
  CHECK(reader.line_number() == 0);
  CHECK((reader.next(a, b) && reader.line_number() == 1));
  CHECK((reader.next(a, b) && reader.line_number() == 2));
  CHECK((reader.next(a, b) && reader.line_number() == 3));
  CHECK_FALSE(reader.next(a, b));
  CHECK_FALSE(reader.next(a, b));
  CHECK(pairs_of(put(dir / "e1", ""), put(dir / "e2", "")).empty());
}

TEST_CASE("misaligned files are errors that name both and the line") {
  TempDir dir;
  const std::string two = put(dir / "a.de", "1\n2\n"), three = put(dir / "a.en", "1\n2\nthree\n");
  const Failure source = failure_of([&] { pairs_of(two, three); });
  CHECK(source.exit_code == kExitFailure);
  CHECK(source.says(two + " ends after line 2, " + three + " goes on: 'three'"));
  CHECK(
      failure_of([&] { pairs_of(three, two); }).says(two + " ends after line 2, " + three + " goes on: 'three'"));
  CHECK(failure_of([&] { pairs_of(put(dir / "empty", ""), two); }).says("ends after line 0"));
  const std::string lengthy = put(
      dir / "long", "1\n2\n" + std::string(59, 'x') + std::string(100, '\xC3').replace(1, 99, "\xA4yyy") + "\n");
  const Failure excerpt = failure_of([&] { pairs_of(two, lengthy); });
  CHECK(excerpt.says(std::string(59, 'x') + "...'"));
}

TEST_CASE("a TSV file holds two columns") {
  TempDir dir;
  CHECK(pairs_of(put(dir / "a.tsv", "ein\tone\n\t\nzwei\ttwo\n"), "") ==
        Pairs{{"ein", "one"}, {"", ""}, {"zwei", "two"}});
  CHECK(pairs_of(put(dir / "a.gz", gzip("a\tb\n")), "") == Pairs{{"a", "b"}});
  CHECK(failure_of([&] {
          pairs_of(put(dir / "b.tsv", "a\tb\na\n"), "");
        }).says("b.tsv:2: found 1 field, expected 2"));
  CHECK(failure_of([&] {
          pairs_of(put(dir / "c.tsv", "a\tb\tc\n"), "");
        }).says("c.tsv:1: found 3 fields, expected 2"));
}

TEST_CASE("bad bytes on either side are errors with file and line") {
  TempDir dir;
  const std::string good = put(dir / "good", "a\nb\n");
  CHECK(failure_of([&] { pairs_of(good, put(dir / "x", "a\n\xFF\n")); }).says("x:2: byte 1"));
  CHECK(failure_of([&] {
          pairs_of(put(dir / "x", std::string("a\0\nb\n", 5)), good);
        }).says("x:1: byte 2 of the line is NUL"));
  CHECK(failure_of([&] {
          pairs_of(good, put(dir / "x", "a\r\nb\r\n"));
        }).says("x:1: the line ends in a carriage return"));
  const std::string packed = gzip("a\nb\n");
  CHECK(failure_of([&] {
          pairs_of(good, put(dir / "x.gz", packed.substr(0, packed.size() - 4)));
        }).says("truncated"));
  CHECK(failure_of([&] { pairs_of(good, dir / "none"); }).says("No such file"));
  CHECK(failure_of([&] { pairs_of("-", "-"); }).says("cannot both be standard input"));
}
