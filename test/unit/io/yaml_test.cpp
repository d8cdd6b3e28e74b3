#include "io/yaml.h"

#include <catch2/catch.hpp>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;

namespace {

std::vector<ConfigEntry> parse(const std::string& text) { return parse_yaml(text, "c.yaml"); }
Failure failure_with(const std::string& text) {
  return failure_of([&] { parse(text); });
}

// "key=value" or "key=[a|b]", one a line.
std::string shown(const std::vector<ConfigEntry>& entries) {
  std::string text;
  for (const ConfigEntry& entry : entries) {
    const std::string values = fmt::format("{}", fmt::join(entry.values, "|"));
    text +=
        entry.is_list ? fmt::format("{}=[{}]\n", entry.key, values) : fmt::format("{}={}\n", entry.key, values);
  }
  return text;
}

}  // namespace

TEST_CASE("YAML becomes flat entries with scalars as written and line numbers") {
  const auto entries = parse(
      "seed: 010\n"
      "model:\n"
      "  dim: 512   # a comment\n"
      "  ffn: \"2048\"\n"
      "\n"
      "  attention: {heads: 8, kind: yes}\n"
      "train-src: [a.de, 'b c.de']\n"
      "langs:\n"
      "- de\n"
      "- en\n"
      "lr: 1e-3\n"
      "empty: ''\n"
      "none: []\n"
      "model.type: transformer\n");
  CHECK(shown(entries) ==
        "seed=010\nmodel.dim=512\nmodel.ffn=2048\nmodel.attention.heads=8\nmodel.attention.kind=yes\ntrain-src=[a."
        "de|b c.de]\n"
        "langs=[de|en]\nlr=1e-3\nempty=\nnone=[]\nmodel.type=transformer\n");
  CHECK(entries[0].line == 1);
  CHECK(entries[1].line == 3);
  CHECK(entries[3].line == 6);
  CHECK(entries[6].line == 8);
  CHECK(entries[10].line == 14);
  CHECK(entries[0].file == "c.yaml");
}

TEST_CASE("an empty YAML file is an empty configuration") {
  CHECK(parse("").empty());
  CHECK(parse("# nothing\n\n").empty());
  CHECK(parse("---\n").empty());
  CHECK(parse("{}\n").empty());
  CHECK(parse("model: {}\n").empty());
}

TEST_CASE("YAML with CR LF line ends is YAML") { CHECK(shown(parse("a: 1\r\nb: 2\r\n")) == "a=1\nb=2\n"); }

TEST_CASE("duplicate YAML keys are errors with both lines") {
  const Failure failure = failure_with("seed: 1\nx: 2\nseed: 3\n");
  CHECK(failure.exit_code == kExitUsage);
  CHECK(failure.says("c.yaml:3: the key 'seed' stands in line 1 already"));
  CHECK(failure_with("m:\n  a: 1\n  a: 2\n").says("c.yaml:3: the key 'm.a' stands in line 2"));
  CHECK(failure_with("m:\n  a: 1\nm:\n  b: 2\n").says("c.yaml:3: the key 'm' stands in line 1"));
  CHECK(failure_with("m:\n  a: 1\nm.a: 2\n").says("c.yaml:3: the key 'm.a' stands in line 2"));
  CHECK(failure_with("{a: 1, a: 2}").says("the key 'a' stands in line 1"));
}

TEST_CASE("what a configuration has no use for is an error with its line") {
  CHECK(failure_with("a: 1\nb: &x 2\n").says("c.yaml:2: found an anchor"));
  CHECK(failure_with("a: &x 1\nb: *x\n").says("found an anchor"));
  CHECK(failure_with("&x a: 1\n").says("found an anchor"));
  CHECK(failure_with("a: 1\n---\nb: 2\n").says("a second document"));
  CHECK(failure_with("a:\n- 1\n- [2]\n").says("c.yaml:3: found a list inside the list 'a'"));
  CHECK(failure_with("a:\n- 1\n- b: 2\n").says("c.yaml:3: found keys inside the list 'a'"));
  CHECK(failure_with("a: 1\nb:\n").says("'b' has no value"));
  CHECK(failure_with("b: ~\n").says("'b' has no value"));
  CHECK(failure_with("b: null\n").says("'b' has no value"));
  CHECK(failure_with("b: [1, null]\n").says("'b' has no value"));
  CHECK(failure_with("~: 1\n").says("found no key"));
  CHECK(failure_with("? [a]\n: 1\n").says("found a list, expected a key"));
  CHECK(failure_with("? {a: 1}\n: 1\n").says("found a mapping, expected a key"));
  CHECK(failure_with("a: !!int 3\n").says("found the tag"));
  CHECK(failure_with("- a\n- b\n").says("c.yaml:1: found a list"));
  CHECK(failure_with("just text\n").says("found a lone value"));
  CHECK(failure_with("a b: 1\n").says("'a b' is no key"));
  CHECK(failure_with("a..b: 1\n").says("'a..b' is no key"));
  CHECK(failure_with(".a: 1\n").says("is no key"));
  CHECK(failure_with("<<: {a: 1}\n").says("'<<' is no key"));
  CHECK(failure_with("\"\": 1\n").says("is no key"));
  CHECK(failure_with("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p: 1\n").exit_code == 0);
  CHECK(failure_with("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q: 1\n").says("has more than 16 parts"));
}

TEST_CASE("malformed YAML is an error with its line") {
  for (const char* text : {"a: [1\n", "a: 'x\n", "a: b: c\n", "a: 1\n  b: 2\n", "\ta: 1\n", "a: @x\n", "{a: 1\n",
                           "a: %\n", "a: ]\n", "a: \"x\n", "a: ['x\n", "'a\n"}) {
    CAPTURE(text);
    const Failure failure = failure_with(text);
    CHECK(failure.exit_code == kExitUsage);
    CHECK(failure.says("c.yaml:"));
  }
  CHECK(failure_with("a: 1\nb: 'x\nc: 2\n").says("c.yaml:3: not valid YAML: a quoted text is not closed"));
  CHECK(shown(parse("a: 'x\n\n  #y'\nb: |\n  y\n  z\n")) == "a=x\n#y\nb=y\nz\n\n");
  CHECK(failure_with("a: 1\nb: \xFF\n").says("c.yaml:2: byte 0xFF is not valid UTF-8"));
  CHECK(failure_with(std::string("a: 1\nb: \0\n", 10)).says("c.yaml:2: found the control character 0x00"));
}

TEST_CASE("deep YAML nesting ends in an error") {
  std::string text, flow;
  for (int i = 0; i < 1000; ++i) text += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  CHECK(failure_with(text).says("nested deeper than"));
  for (int i = 0; i < 20000; ++i) flow += "{a: ";
  CHECK(failure_with(flow).exit_code == kExitUsage);
  CHECK(failure_with(std::string(20000, '[')).exit_code == kExitUsage);
}

TEST_CASE("YAML is read from files, and files that cannot be read are input errors") {
  TempDir dir;
  CHECK(shown(read_yaml(put(dir / "c.yaml", "a: 1\n"))) == "a=1\n");
  CHECK(failure_of([&] { read_yaml(put(dir / "d.yaml", "a: 1\na: 2\n")); }).says(dir / "d.yaml:2: "));
  const Failure failure = failure_of([&] { read_yaml(dir / "none.yaml"); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says("No such file"));
}

TEST_CASE("emitted YAML reads back to the same entries") {
  std::vector<ConfigEntry> entries;
  const auto add = [&](const std::string& key, std::vector<std::string> values, bool is_list = false) {
    entries.push_back({key, std::move(values), is_list, "", 0});
  };
  add("model.dim", {"512"});
  add("seed", {"010"});
  add("model.name", {"null"});
  add("a.b.c", {"~"});
  add("a.b.d", {""});
  add("files",
      {"a b", "-", "- x", "#no", "x: y", "'q'", "\"q\"", "\\", "é\xE2\x80\xA8\xC2\x85\xEF\xBB\xBF", "*a", "&a",
       "!t", "[x]", "a,b"},
      true);
  add("none", {}, true);
  add("lines", {"one\ntwo\n\n three\r\n\t\x01\x7F"});
  add("model.type", {"-5"});
  add("model.type.sub", {"both value and section"});
  add("bool", {"true"});
  add("space", {" x "});
  add("dash", {"---"});
  const std::string text = emit_yaml(entries);
  INFO(text);
  auto back = parse_yaml(text, "back");
  const auto by_key = [](const ConfigEntry& a, const ConfigEntry& b) { return a.key < b.key; };
  std::sort(back.begin(), back.end(), by_key);
  std::sort(entries.begin(), entries.end(), by_key);
  CHECK(shown(back) == shown(entries));
  CHECK(emit_yaml(parse_yaml(text, "back")) == text);
  CHECK(emit_yaml({}).empty());
}

TEST_CASE("emitted YAML is block style with one section for all its keys") {
  std::vector<ConfigEntry> entries = {
      {"m.a", {"1"}, false, "", 0}, {"s", {"x y"}, false, "", 0}, {"m.l", {"1", "2"}, true, "", 0}};
  CHECK(emit_yaml(entries) == "m:\n  a: 1\n  l:\n    - 1\n    - 2\ns: \"x y\"\n");
}
