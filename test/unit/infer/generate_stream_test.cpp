#include "infer/generate_stream.h"

#include <catch2/catch.hpp>
#include <memory>

#include "infer/prompts.h"
#include "infer/score_stream.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "support/fake_language_model.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::infer;
using namespace seqmill::test;

namespace {

std::string joined(const std::vector<std::string>& lines, size_t count = std::string::npos) {
  std::string text;
  for (size_t i = 0; i < std::min(count, lines.size()); ++i) text += lines[i] + "\n";
  return text;
}

/// Prompts through generate_stream, by files. A model of the letters a to f.
struct Streamed {
  TempDir dir;
  LoadedLanguageModel model;
  GeneratorOptions generation;
  GenerateStreamOptions options;
  std::vector<int32_t> ends{1};

  explicit Streamed(const std::string& input, int64_t positions = 1000) {
    model.tokenizer = std::make_shared<FakeTokenizer>(std::vector<std::string>{"a", "b", "c", "d", "e", "f"});
    model.model = std::make_unique<FakeLanguageModel>(hashed_distribution(8), 8, positions);
    generation.max_new_tokens = 12;
    options.input = put(dir / "in", input);
    options.output = dir / "out";
    options.origin = "models/x";
  }

  void run(int threads = 1) {
    const FakeTemplate chat(*model.tokenizer, ends);
    generate_stream(model, chat, generation, options, threads, 5);
  }
  std::vector<io::Json> records(int threads = 1) {
    run(threads);
    std::vector<io::Json> records;
    for (const std::string& line : io::read_lines(options.output)) records.push_back(io::parse_json(line, "record"));
    return records;
  }
  Failure failure() {
    return failure_of([&] { run(); });
  }
};

std::string many_prompts(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("{{\"id\":\"r{}\",\"prompt\":\"{}\",\"more\":{}}}\n", i, std::string(1 + i % 5, static_cast<char>('a' + i % 6)), i);
  return text;
}

}  // namespace

TEST_CASE("one record out for one in, in order, with all that was in it", "[stream]") {
  Streamed streamed("{\"id\":\"x\",\"prompt\":\"ab\",\"answer\":[1,null]}\n{\"prompt\":[{\"role\":\"user\",\"content\":\"cd\"}]}\n");
  streamed.generation.samples = 2;
  const std::vector<io::Json> records = streamed.records();
  REQUIRE(records.size() == 2);
  CHECK(records[0].at("id").as_string() == "x");
  CHECK(records[0].at("prompt").as_string() == "ab");
  CHECK(records[0].at("answer").dump() == "[1,null]");
  CHECK(records[1].at("id").as_int() == 2);
  CHECK(records[1].at("prompt").as_array().size() == 1);
  for (size_t i = 0; i < 2; ++i) {
    const io::JsonArray& hypotheses = records[i].at("hypotheses").as_array();
    REQUIRE(hypotheses.size() == 2);
    for (const io::Json& hypothesis : hypotheses) {
      const std::string& text = hypothesis.at("text").as_string();
      const std::string finish = hypothesis.at("finish").as_string();
      CHECK(hypothesis.at("origin").as_string() == "models/x");
      CHECK((finish == "end" || finish == "length"));
      Tokens tokens = streamed.model.tokenizer->encode((i == 0 ? "ab" : "cd") + text);
      tokens.insert(tokens.begin(), 0);
      if (finish == "end") tokens.push_back(1);
      // The begin symbol, which stands for no text, may have been drawn too.
      if (hypothesis.at("length").as_int() != static_cast<int64_t>(text.size())) continue;
      double logprob = 0;
      const std::vector<double> scores = streamed.model.model->score({tokens}, 1);
      for (size_t t = 2; t < scores.size(); ++t) logprob += scores[t];
      CHECK(hypothesis.at("logprob").as_double() == Approx(logprob));
      CHECK(hypothesis.at("scores").at("mean").as_double() == Approx(logprob / static_cast<double>(scores.size() - 2)));
    }
  }
}

TEST_CASE("lines of text are prompts", "[stream]") {
  Streamed streamed("ab\ncd");
  streamed.options.format = "text";
  const std::vector<io::Json> records = streamed.records();
  REQUIRE(records.size() == 2);
  CHECK(records[0].at("id").as_int() == 1);
  CHECK(records[1].at("prompt").as_string() == "cd");
  put(streamed.options.input, "ab\n\n");
  CHECK(streamed.failure().says(streamed.options.input + ":2: the prompt is empty"));
}

TEST_CASE("output depends neither on threads nor on batches nor on streaming", "[stream]") {
  Streamed streamed(many_prompts(23));
  streamed.generation.samples = 3;
  streamed.run();
  const std::string expected = get(streamed.options.output);
  for (const int threads : {1, 4}) {
    for (const int64_t batch : {1, 4, 100}) {
      for (const bool stream : {false, true}) {
        streamed.generation.batch = batch;
        streamed.options.stream = stream;
        streamed.run(threads);
        CHECK(get(streamed.options.output) == expected);
      }
    }
  }
}

TEST_CASE("a call that was killed anywhere is taken up again and gives the same bytes", "[stream]") {
  Streamed streamed(many_prompts(9));
  streamed.generation.samples = 2;
  streamed.run();
  const std::string whole = get(streamed.options.output);
  const auto lines = io::read_lines(streamed.options.output);
  streamed.options.resume = true;
  for (const size_t cut : {size_t{0}, size_t{1}, lines[0].size(), lines[0].size() + 1, whole.size() / 2, whole.size() - 1, whole.size()}) {
    put(streamed.options.output, whole.substr(0, cut));
    streamed.run(2);
    CAPTURE(cut);
    CHECK(get(streamed.options.output) == whole);
  }
  std::remove(streamed.options.output.c_str());
  streamed.run();
  CHECK(get(streamed.options.output) == whole);
  CHECK(streamed.dir.names() == std::vector<std::string>{"in", "out"});
}

TEST_CASE("what was begun by another call is not gone on with, and stays as it is", "[stream]") {
  Streamed streamed(many_prompts(4));
  streamed.run();
  const std::string whole = get(streamed.options.output) + "torn";
  streamed.options.resume = true;
  const auto refused = [&](const std::string& content, const std::string& reason) {
    put(streamed.options.output, content);
    const Failure failure = streamed.failure();
    CAPTURE(failure.message);
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(reason));
    CHECK(failure.says("--resume"));
    CHECK(get(streamed.options.output).substr(0, 5) == content.substr(0, 5));
  };
  put(streamed.options.input, many_prompts(3));
  refused(whole, "has 4 records, and");
  put(streamed.options.input, "{\"id\":\"r0\",\"prompt\":\"a\",\"more\":0}\n{\"id\":\"r7\",\"prompt\":\"bb\",\"more\":1}\n");
  refused(joined(io::read_lines(put(streamed.dir / "copy", whole)), 2), "out:2 has the id r1, and record 2 of the input");
  put(streamed.options.input, "{\"id\":\"r0\",\"prompt\":\"b\",\"more\":0}\n");
  refused(joined(io::read_lines(streamed.dir / "copy"), 1), "another prompt");
  put(streamed.options.input, many_prompts(4));
  streamed.options.origin = "models/y";
  refused(whole, "is of the model 'models/x', not 'models/y'");
  streamed.options.origin = "models/x";
  streamed.generation.samples = 2;
  refused(whole, "has 1 hypotheses, not --samples 2");
  refused("{\"id\":1}\n", "no record of hypotheses");
  put(streamed.options.output, "no JSON\n");
  CHECK(streamed.failure().says("out:1"));
}

TEST_CASE("without --resume a file appears only when it is complete", "[stream]") {
  Streamed streamed(many_prompts(2) + "{\"id\":1}\n");
  CHECK(streamed.failure().exit_code == kExitFailure);
  CHECK(streamed.dir.names() == std::vector<std::string>{"in"});
}

TEST_CASE("bad records stop, or are left out", "[stream]") {
  const std::string bad = "no JSON\n[1]\n{\"id\":1}\n{\"id\":2,\"prompt\":\"\"}\n{\"id\":3,\"prompt\":[{\"role\":\"king\",\"content\":\"a\"}]}\n{\"id\":4,\"prompt\":\"xyz\"}\n";
  Streamed streamed("{\"id\":\"good\",\"prompt\":\"ab\"}\n");
  streamed.run();
  const std::string good = get(streamed.options.output);
  put(streamed.options.input, bad + "{\"id\":\"good\",\"prompt\":\"ab\"}\n");
  CHECK(streamed.failure().says(streamed.options.input + ":1"));
  streamed.options.skip_bad = true;
  streamed.run();
  CHECK(get(streamed.options.output) == good);
  streamed.options.resume = true;
  streamed.run();
  CHECK(get(streamed.options.output) == good);
}

TEST_CASE("a prompt too long for the model is an error, or is cut on the left", "[stream]") {
  Streamed streamed("{\"id\":\"x\",\"prompt\":\"abcdefabc\"}\n", 10);  // 10 tokens with the begin symbol
  CHECK(streamed.failure().says("record x: the prompt has 10 tokens"));
  streamed.options.truncate = "left";
  streamed.generation.max_new_tokens = 4;
  const io::Json record = streamed.records().at(0);
  CHECK(record.at("prompt").as_string() == "abcdefabc");
  Streamed brief("{\"id\":\"x\",\"prompt\":\"efabc\"}\n", 10);
  brief.generation.max_new_tokens = 4;
  CHECK(brief.records().at(0).at("hypotheses").dump() == record.at("hypotheses").dump());
  // One that fits goes on to the last position.
  put(streamed.options.input, "{\"id\":\"x\",\"prompt\":\"abcdef\"}\n");
  streamed.options.truncate = "none";
  streamed.generation.max_new_tokens = 100;
  streamed.generation.min_new_tokens = 4;
  CHECK(streamed.failure().says("of which 4 for what is new"));
  streamed.generation.min_new_tokens = 3;
  CHECK(streamed.records().at(0).at("hypotheses").as_array().at(0).at("length").as_int() == 3);
}

TEST_CASE("prompts are cut on the left; a begin symbol stays where there is room", "[stream]") {
  const auto cut = [](Tokens tokens, int64_t most, int32_t bos) {
    const bool was_longer = cut_left(tokens, most, bos);
    CHECK(was_longer == (tokens != Tokens{0, 5, 6, 7}));
    return tokens;
  };
  CHECK(cut({0, 5, 6, 7}, 4, 0) == Tokens{0, 5, 6, 7});
  CHECK(cut({0, 5, 6, 7}, 3, 0) == Tokens{0, 6, 7});
  CHECK(cut({0, 5, 6, 7}, 3, -1) == Tokens{5, 6, 7});
  CHECK(cut({0, 5, 6, 7}, 1, 0) == Tokens{7});
}

TEST_CASE("beams are records with what they rank by", "[stream]") {
  Streamed streamed(many_prompts(5));
  streamed.generation.beam = 4;
  streamed.generation.samples = 3;
  for (const io::Json& record : streamed.records(2)) {
    double last = 0;
    for (const io::Json& hypothesis : record.at("hypotheses").as_array()) {
      const double score = hypothesis.at("scores").at("search").as_double();
      CHECK(score <= last);
      last = score;
    }
  }
}

namespace {

/// Records through score_stream, or a text through perplexity_stream.
struct Scored {
  Streamed streamed;
  ScoreStreamOptions options;
  explicit Scored(const std::string& input, int64_t positions = 1000) : streamed(input, positions) {
    options.input = streamed.options.input;
    options.output = streamed.options.output;
  }
  std::string run() {
    const FakeTemplate chat(*streamed.model.tokenizer);
    if (options.perplexity) perplexity_stream(streamed.model, options, 1);
    else score_stream(streamed.model, chat, options, 1);
    return get(options.output);
  }
  Failure failure() {
    return failure_of([&] { run(); });
  }
};

}  // namespace

TEST_CASE("responses get their scores", "[score]") {
  Scored scored("{\"id\":1,\"prompt\":\"ab\",\"response\":\"cd\",\"k\":0}\n{\"id\":2,\"prompt\":\"ab\",\"responses\":[\"cd\",\"\"]}\n");
  scored.options.per_token = true;
  const std::vector<double> all = scored.streamed.model.model->score({{0, 2, 3, 4, 5, 1}, {0, 2, 3, 1}}, 1);
  for (const int64_t batch_tokens : {1, 1000}) {
    scored.options.batch_tokens = batch_tokens;
    scored.run();
    const std::vector<std::string> lines = io::read_lines(scored.options.output);
    REQUIRE(lines.size() == 2);
    const io::Json one = io::parse_json(lines[0], "one"), list = io::parse_json(lines[1], "list");
    CHECK(one.at("k").as_int() == 0);
    CHECK(one.at("scores").at("logprob").as_double() == Approx(all[2] + all[3] + all[4]));
    CHECK(one.at("scores").at("mean").as_double() == Approx((all[2] + all[3] + all[4]) / 3));
    CHECK(one.at("scores").at("tokens").as_int() == 3);
    CHECK(one.at("scores").at("logprobs").as_array().at(1).as_double() == all[3]);
    REQUIRE(list.at("scores").as_array().size() == 2);
    CHECK(list.at("scores").as_array()[0].dump() == one.at("scores").dump());
    CHECK(list.at("scores").as_array()[1].at("logprob").as_double() == all[7]);
  }
  scored.options.end = false;
  scored.run();
  CHECK(io::parse_json(io::read_lines(scored.options.output)[0], "one").at("scores").at("logprob").as_double() == Approx(all[2] + all[3]));
}

TEST_CASE("what lm-generate wrote is scored again", "[score]") {
  Streamed generated(many_prompts(6));
  generated.generation.samples = 2;
  generated.run();
  Scored scored(get(generated.options.output));
  scored.run();
  for (const std::string& line : io::read_lines(scored.options.output)) {
    const io::Json record = io::parse_json(line, "record");
    for (const io::Json& hypothesis : record.at("hypotheses").as_array()) {
      const io::Json& scores = hypothesis.at("scores");
      if (hypothesis.at("finish").as_string() != "end") continue;
      if (scores.at("lm-tokens").as_int() != hypothesis.at("length").as_int() + 1) continue;  // a begin symbol was drawn
      CHECK(scores.at("lm-logprob").as_double() == Approx(hypothesis.at("logprob").as_double()));
      CHECK(scores.at("lm-mean").as_double() == Approx(scores.at("mean").as_double()));
    }
  }
}

TEST_CASE("bad records of answers name the place", "[score]") {
  const auto says = [](const std::string& record, const std::string& message) {
    Scored scored("{\"id\":0,\"prompt\":\"a\",\"response\":\"b\"}\n" + record + "\n", 6);
    const Failure failure = scored.failure();
    CAPTURE(failure.message);
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(scored.options.input + ":2"));
    CHECK(failure.says(message));
    scored.options.skip_bad = true;
    scored.run();
    CHECK(io::read_lines(scored.options.output).size() == 1);
  };
  says("{\"id\":\"x\",\"prompt\":\"a\"}", "record x");
  says("{\"id\":\"x\",\"prompt\":\"\",\"response\":\"a\"}", "empty");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"response\":1}", "record x");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"responses\":[]}", "record x");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"hypotheses\":[{\"logprob\":1}]}", "hypotheses");
  says("{\"id\":\"x\",\"prompt\":\"abc\",\"response\":\"def\"}", "--truncate left");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"response\":\"abcdefabc\"}", "2 and 10 tokens");
}

TEST_CASE("a prompt that leaves no room for its response is cut", "[score]") {
  Scored scored("{\"id\":\"x\",\"prompt\":\"abc\",\"response\":\"def\"}\n", 6);
  scored.options.truncate = "left";
  scored.run();
  const std::vector<double> all = scored.streamed.model.model->score({{0, 3, 4, 5, 6, 7, 1}}, 1);
  CHECK(io::parse_json(io::read_lines(scored.options.output)[0], "x").at("scores").at("logprob").as_double() == Approx(all[2] + all[3] + all[4] + all[5]));
}

TEST_CASE("perplexity of a text and of documents", "[score]") {
  Scored scored("abc");
  scored.options.perplexity = scored.options.json = true;
  const std::vector<double> all = scored.streamed.model.model->score({{0, 2, 3, 4, 1}}, 1);
  const double nll = -(all[0] + all[1] + all[2] + all[3]);
  const io::Json plain = io::parse_json(scored.run(), "plain");
  CHECK(plain.at("tokens").as_int() == 4);
  CHECK(plain.at("words").as_int() == 1);
  CHECK(plain.at("bytes").as_int() == 3);
  CHECK(plain.at("nll").as_double() == Approx(nll));
  CHECK(plain.at("ppl").as_double() == Approx(std::exp(nll / 4)));
  CHECK(plain.at("word-ppl").as_double() == Approx(std::exp(nll)));
  CHECK(plain.at("byte-ppl").as_double() == Approx(std::exp(nll / 3)));
  CHECK(plain.at("bits-per-byte").as_double() == Approx(nll / 3 / std::log(2.0)));
  scored.options.json = false;
  CHECK(scored.run().find(fmt::format("{:.4f} per token (4 tokens)", std::exp(nll / 4))) != std::string::npos);

  put(scored.options.input, "{\"text\":\"abc\"}\n{\"text\":\"\"}\n{\"text\":\"de\"}\n");
  scored.options.format = "jsonl";
  scored.options.json = true;
  const io::Json documents = io::parse_json(scored.run(), "documents");
  CHECK(documents.at("tokens").as_int() == 8);
  CHECK(documents.at("words").as_int() == 2);
  CHECK(documents.at("bytes").as_int() == 5);
  const std::vector<double> both = scored.streamed.model.model->score({{0, 2, 3, 4, 1, 0, 5, 6, 1}}, 1);
  double sum = 0;
  for (const double logprob : both) sum -= logprob;
  CHECK(documents.at("nll").as_double() == Approx(sum));

  put(scored.options.input, "{\"text\":1}\n");
  CHECK(scored.failure().says(scored.options.input + ":1"));
  put(scored.options.input, "");
  scored.options.format = "text";
  CHECK(scored.failure().says("there is no text"));
  scored.options.window = 2000;
  CHECK(scored.failure().exit_code == kExitUsage);
}

TEST_CASE("options of scoring that have no effect together are usage errors", "[score]") {
  const auto code = [](auto change) {
    ScoreStreamOptions options;
    change(options);
    return failure_of([&] { options.check(); }).exit_code;
  };
  CHECK(code([](ScoreStreamOptions&) {}) == kExitDone);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.window = 5, o.stride = 2; }) == kExitDone);
  CHECK(code([](ScoreStreamOptions& o) { o.window = 5; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.format = "jsonl"; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = o.per_token = true; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.end = false; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.truncate = "left"; }) == kExitUsage);
}
