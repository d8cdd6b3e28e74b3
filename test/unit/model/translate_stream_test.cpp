#include "io/json.h"
#include "io/line_reader.h"
#include "infer/translate_stream.h"
#include "translators.h"

using namespace seqmill;
using namespace seqmill::model;
using infer::StreamOptions;
using infer::translate_stream;
using namespace seqmill::test;

namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

/// Lines through translate_stream, by files.
struct Streamed {
  TempDir dir;
  StreamOptions options;
  std::unique_ptr<Seq2Seq> model = letter_model();

  explicit Streamed(const std::vector<std::string>& lines) {
    options.input = put(dir / "in", joined(lines));
    options.output = dir / "out";
  }

  std::vector<std::string> run(const search::SearchOptions& search, int threads = 1) {
    options.n_best = search.n_best;
    Translator translator = translator_of({model.get()}, search, 2048, threads);
    translate_stream(translator, options);
    return io::read_lines(options.output);
  }

  Failure failure() {
    return failure_of([&] { run(beam_search(2, 1)); });
  }
};

std::vector<std::string> lines_with_blanks() {
  std::vector<std::string> lines = random_lines(7, 6);
  lines[0] = "";
  lines[4] = "   ";
  return lines;
}

}  // namespace

TEST_CASE("each line gives one line, in order", "[stream]") {
  const std::vector<std::string> lines = lines_with_blanks();
  Streamed streamed(lines);
  for (search::SearchOptions search : all_searches()) {
    search.n_best = 1;
    const Translations expected = translator_of({streamed.model.get()}, search).translate(lines);
    for (const int64_t window : {1, 2, 3, 4096}) {
      streamed.options.window = window;
      const std::vector<std::string> found = streamed.run(search, static_cast<int>(1 + window % 2));
      REQUIRE(found.size() == lines.size());
      for (size_t i = 0; i < lines.size(); ++i) CHECK(found[i] == (expected[i].empty() ? "" : expected[i][0].text));
    }
  }
}

TEST_CASE("an input without lines, and one without a last line feed", "[stream]") {
  Streamed streamed({});
  CHECK(streamed.run(beam_search(2, 1)).empty());
  put(streamed.options.input, "abc\ndef");
  CHECK(streamed.run(beam_search(2, 1)).size() == 2);
}

TEST_CASE("n-best lists are records", "[stream]") {
  const std::vector<std::string> lines = lines_with_blanks();
  Streamed streamed(lines);
  streamed.options.origin = "models/x";
  streamed.options.window = 3;
  const search::SearchOptions search = beam_search(4, 3);
  const Translations expected = translator_of({streamed.model.get()}, search).translate(lines);
  const std::vector<std::string> records = streamed.run(search);
  REQUIRE(records.size() == lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const io::Json record = io::parse_json(records[i], "record");
    CHECK(record.as_object().front().first == "id");
    CHECK(record.at("id").as_int() == static_cast<int64_t>(i));
    CHECK(record.at("source").as_string() == lines[i]);
    const io::JsonArray& hypotheses = record.at("hypotheses").as_array();
    REQUIRE(hypotheses.size() == expected[i].size());
    for (size_t n = 0; n < hypotheses.size(); ++n) {
      CHECK(hypotheses[n].at("text").as_string() == expected[i][n].text);
      CHECK(hypotheses[n].at("logprob").as_double() == expected[i][n].logprob);
      CHECK(hypotheses[n].at("length").as_int() == expected[i][n].length);
      CHECK(hypotheses[n].at("origin").as_string() == "models/x");
      CHECK(hypotheses[n].at("scores").at("search").as_double() == expected[i][n].score);
    }
  }
}

TEST_CASE("a single translation is a record when asked for", "[stream]") {
  Streamed streamed({"abc", ""});
  streamed.options.json = true;
  const std::vector<std::string> records = streamed.run(beam_search(2, 1));
  REQUIRE(records.size() == 2);
  CHECK(io::parse_json(records[0], "record").at("hypotheses").as_array().size() == 1);
  CHECK(io::parse_json(records[1], "record").at("hypotheses").as_array().empty());
}

TEST_CASE("given targets are scored", "[stream]") {
  const std::vector<std::string> lines = lines_with_blanks(), targets = random_lines(7, 8);
  Streamed streamed(lines);
  streamed.options.score = put(streamed.dir / "targets", joined(targets));
  const std::vector<Translation> expected = translator_of({streamed.model.get()}, {}).score(lines, targets);
  for (const int64_t window : {2, 4096}) {
    streamed.options.window = window;
    const std::vector<std::string> found = streamed.run(beam_search(2, 1));
    REQUIRE(found.size() == lines.size());
    for (size_t i = 0; i < lines.size(); ++i) CHECK(found[i] == fmt::format("{:.6f}", expected[i].logprob));
  }
  streamed.options.json = true;
  const io::Json record = io::parse_json(streamed.run(beam_search(2, 1)).at(1), "record");
  CHECK(record.at("hypotheses").as_array().at(0).at("text").as_string() == targets[1]);
  CHECK(record.at("hypotheses").as_array().at(0).at("logprob").as_double() == expected[1].logprob);
}

TEST_CASE("forced beginnings come from a file", "[stream]") {
  const std::vector<std::string> lines = random_lines(5, 6), prefixes{"ab", "", "c d", "h", "g"};
  Streamed streamed(lines);
  streamed.options.prefix = put(streamed.dir / "prefixes", joined(prefixes));
  streamed.options.window = 2;
  const std::vector<std::string> found = streamed.run(beam_search(2, 1));
  for (size_t i = 0; i < lines.size(); ++i) CHECK(found.at(i).rfind(prefixes[i], 0) == 0);
}

TEST_CASE("companion files of another length are errors that name both files", "[stream]") {
  for (const bool score : {false, true}) {
    for (const int64_t window : {1, 2, 4096}) {
      CAPTURE(score, window);
      Streamed streamed({"a", "b", "c"});
      streamed.options.window = window;
      const std::string companion = streamed.dir / "companion";
      (score ? streamed.options.score : streamed.options.prefix) = companion;
      put(companion, "a\nb\n");
      const Failure brief = streamed.failure();
      CHECK(brief.exit_code == kExitFailure);
      CHECK(brief.says(companion + " ends after line 2, " + streamed.options.input + " goes on"));
      put(companion, "a\nb\nc\nd\n");
      const Failure lengthy = streamed.failure();
      CHECK(lengthy.exit_code == kExitFailure);
      CHECK(lengthy.says(streamed.options.input + " ends before " + companion + ", which has a line 4"));
      CHECK(streamed.dir.names() == std::vector<std::string>{"companion", "in"});  // nothing half done is left
    }
  }
}

TEST_CASE("an unreadable input or companion names the file", "[stream]") {
  Streamed streamed({"a"});
  streamed.options.prefix = streamed.dir / "none";
  CHECK(streamed.failure().says(streamed.dir / "none"));
  streamed.options.prefix.clear();
  streamed.options.input = put(streamed.dir / "bad", "ab\n\xFF\n");
  CHECK(streamed.failure().says((streamed.dir / "bad") + ":2"));
}

TEST_CASE("options that have no effect together are usage errors", "[stream]") {
  const auto code = [](auto change) {
    StreamOptions options;
    change(options);
    return failure_of([&] { options.check(); }).exit_code;
  };
  CHECK(code([](StreamOptions&) {}) == kExitDone);
  CHECK(code([](StreamOptions& o) { o.prefix = o.input = "s"; }) == kExitDone);
  CHECK(code([](StreamOptions& o) { o.score = "t"; }) == kExitDone);
  CHECK(code([](StreamOptions& o) { o.score = o.prefix = "t"; }) == kExitUsage);
  CHECK(code([](StreamOptions& o) { o.score = "-"; }) == kExitUsage);
  CHECK(code([](StreamOptions& o) { o.prefix = "-"; }) == kExitUsage);
  StreamOptions lists;
  lists.score = "t";
  lists.n_best = 2;
  CHECK(failure_of([&] { lists.check(); }).says("--n-best has no effect"));
}
