#include "infer/generate_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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
  uint64_t seed = 5;

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
    generate_stream(model, chat, generation, options, threads, seed);
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

TEST_CASE("a beam has no more rows than there are tokens to choose from", "[stream]") {
  Streamed streamed(many_prompts(1));
  streamed.generation.beam = 9;
  const Failure failure = streamed.failure();
  CHECK((failure.exit_code == kExitUsage && failure.says("--beam 9 is more than the 8 tokens")));
}

TEST_CASE("NaN under a beam names the record", "[stream]") {
  Streamed streamed("{\"id\":\"the one\",\"prompt\":\"ab\"}\n");
  streamed.model.model = std::make_unique<FakeLanguageModel>([](const Tokens&) { return std::vector<float>(8, std::nanf("")); }, 8);
  streamed.generation.beam = 2;
  CHECK(streamed.failure().says("record the one: the model gave NaN"));
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
  refused(whole, "has 4 records and the beginning of another, and");
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
  streamed.generation.samples = 1;
  // Without any line end: what begins like the next record is cut off, anything else is not ours.
  for (const char* foreign : {"a file without a line end", "{\"id\":\"r0\",\"prompt\":\"b"}) {
    refused(foreign, "is not the beginning of a record");
    CHECK(get(streamed.options.output) == foreign);
  }
  put(streamed.options.input, "");
  refused("{\"id\":\"r0\"", "and the beginning of another");
  put(streamed.options.input, many_prompts(4));
  refused(joined(io::read_lines(streamed.dir / "copy"), 1) + "foreign", "out:2 has no line end");
  CHECK(get(streamed.options.output) == joined(io::read_lines(streamed.dir / "copy"), 1) + "foreign");
  put(streamed.options.output, "no JSON\n");
  CHECK(streamed.failure().says("out:1"));
}

TEST_CASE("a call that goes on with another's file has the options of that", "[stream]") {
  Streamed streamed(many_prompts(6));
  streamed.options.resume = true;
  streamed.options.computed_by = {{"precision", "fp32"}};
  streamed.run();
  const std::string whole = get(streamed.options.output);
  // A call that fails in the middle leaves what it has written, and what it was.
  const std::string prompts = get(streamed.options.input);
  std::remove(streamed.options.output.c_str());
  put(streamed.options.input, joined(io::read_lines(streamed.options.input), 3) + "no JSON\n");
  streamed.options.stream = true;
  streamed.generation.batch = 1;
  CHECK(streamed.failure().says("in:4"));
  put(streamed.options.input, prompts);
  const std::string begun = get(streamed.options.output);
  REQUIRE((!begun.empty() && begun == whole.substr(0, begun.size())));
  CHECK(streamed.dir.names() == std::vector<std::string>{"in", "out", "out.resume"});
  const auto refused = [&](auto change, const std::string& option) {
    const GeneratorOptions generation = streamed.generation;
    const GenerateStreamOptions options = streamed.options;
    change();
    const Failure failure = streamed.failure();
    CAPTURE(failure.message);
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(option));
    CHECK(get(streamed.options.output) == begun);
    streamed.generation = generation;
    streamed.options = options;
  };
  refused([&] { streamed.generation.sampler.temperature = 0.5; }, "--temperature \"1\", and this call has \"0.5\"");
  refused([&] { streamed.generation.stop = {"a", "b"}; }, "--stop [], and this call has [\"a\",\"b\"]");
  refused([&] { streamed.options.computed_by[0].second = "bf16"; }, "--precision \"fp32\"");
  refused([&] { streamed.options.truncate = "left"; }, "--truncate");
  refused([&] { streamed.generation.max_new_tokens = 13; }, "--max-new-tokens");
  refused([&] { streamed.seed = 6; }, "--seed \"5\", and this call has \"6\"");
  streamed.seed = 5;
  streamed.generation.batch = 7;  // of no consequence for the texts
  streamed.run();
  CHECK(get(streamed.options.output) == whole);
  CHECK(streamed.dir.names() == std::vector<std::string>{"in", "out"});
}

TEST_CASE("hypotheses that a record has are replaced", "[stream]") {
  Streamed streamed("{\"id\":1,\"prompt\":\"ab\",\"hypotheses\":[{\"text\":\"old\"}],\"more\":2}\n");
  const io::Json record = streamed.records().at(0);
  CHECK(record.at("hypotheses").as_array().at(0).at("origin").as_string() == "models/x");
  CHECK(record.at("more").as_int() == 2);
  // And a call that was killed is taken up all the same.
  const std::string whole = get(streamed.options.output);
  put(streamed.options.output, whole.substr(0, 40));
  streamed.options.resume = true;
  streamed.run();
  CHECK(get(streamed.options.output) == whole);
}

TEST_CASE("without --resume a file appears only when it is complete", "[stream]") {
  Streamed streamed(many_prompts(2) + "{\"id\":1}\n");
  CHECK(streamed.failure().exit_code == kExitFailure);
  CHECK(streamed.dir.names() == std::vector<std::string>{"in"});
}

TEST_CASE("a worker that fails does not wait for one that waits for input", "[stream]") {
  Streamed streamed("");
  // The first prompt fails after some tokens, the second ends at once; no more come, and the input does not end.
  streamed.model.model = std::make_unique<FakeLanguageModel>(
      [](const Tokens& history) {
        std::vector<float> logprobs(8, history.size() > 10 ? std::nanf("") : -20);
        logprobs[history.at(1) == 2 ? 4 : 1] = 0;
        return logprobs;
      },
      8);
  streamed.options.input = streamed.dir / "pipe";
  REQUIRE(::mkfifo(streamed.options.input.c_str(), 0600) == 0);
  const int open_end = ::open(streamed.options.input.c_str(), O_RDWR);
  const std::string prompts = "{\"id\":\"bad\",\"prompt\":\"a\"}\n{\"id\":\"good\",\"prompt\":\"b\"}\n";
  REQUIRE(::write(open_end, prompts.data(), prompts.size()) == static_cast<ssize_t>(prompts.size()));
  streamed.generation.batch = 1;
  streamed.generation.max_new_tokens = 100;
  const Failure failure = failure_of([&] { streamed.run(2); });
  ::close(open_end);
  CHECK(failure.says("record bad"));
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
  // What leaves no room for --min-new-tokens is cut, and no more of it.
  streamed.options.truncate = "left";
  streamed.generation.max_new_tokens = 100;
  streamed.generation.min_new_tokens = 4;
  const io::Json record = streamed.records().at(0);
  CHECK(record.at("prompt").as_string() == "abcdefabc");
  Streamed brief("{\"id\":\"x\",\"prompt\":\"efabc\"}\n", 10);
  brief.generation.max_new_tokens = brief.generation.min_new_tokens = 4;
  CHECK(brief.records().at(0).at("hypotheses").dump() == record.at("hypotheses").dump());
  for (const auto& [prompt, cut] : {std::pair("abcdefab", "abcdefab"), std::pair("abcdefabc", "bcdefabc")}) {
    put(streamed.options.input, fmt::format("{{\"id\":\"x\",\"prompt\":\"{}\"}}\n", prompt));
    put(brief.options.input, fmt::format("{{\"id\":\"x\",\"prompt\":\"{}\"}}\n", cut));
    streamed.generation.min_new_tokens = brief.generation.min_new_tokens = 0;
    CHECK(brief.records().at(0).at("hypotheses").dump() == streamed.records().at(0).at("hypotheses").dump());
  }
  streamed.generation.max_new_tokens = streamed.generation.min_new_tokens = 10;
  CHECK(streamed.failure().says("of which 10 for what is new (--min-new-tokens)"));
  // One that fits goes on to the last position.
  put(streamed.options.input, "{\"id\":\"x\",\"prompt\":\"abcdef\"}\n");
  streamed.options.truncate = "none";
  streamed.generation.max_new_tokens = 100;
  streamed.generation.min_new_tokens = 4;
  CHECK(streamed.failure().says("of which 4 for what is new"));
  streamed.generation.min_new_tokens = 3;
  CHECK(streamed.records().at(0).at("hypotheses").as_array().at(0).at("length").as_int() == 3);
}

TEST_CASE("the length of sequences is checked as they come", "[stream]") {
  Streamed streamed("{\"id\":1,\"prompt\":\"ab\"}\n{\"id\":2,\"prompt\":\"a\"}\n{\"id\":3,\"prompt\":\"abcd\"}\n{\"id\":4,\"prompt\":\"abcdef\"}\n");
  std::vector<int64_t> lengths;
  streamed.options.check_length = [&](int64_t tokens) {
    lengths.push_back(tokens);
    if (tokens > 18) fail("too long for this machine");
  };
  CHECK(streamed.failure().says("in:4: record 4: too long for this machine"));
  CHECK(lengths == std::vector<int64_t>{15, 17, 19});
  streamed.options.skip_bad = true;
  CHECK(streamed.records().size() == 3);
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
  std::string input;
  explicit Scored(const std::string& text, int64_t positions = 1000) : streamed(text, positions), input(streamed.options.input) {
    options.inputs = {input};
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

TEST_CASE("scores that a record has stay, and none is replaced", "[score]") {
  Scored scored("{\"id\":1,\"prompt\":\"ab\",\"response\":\"cd\",\"scores\":{\"reward\":3}}\n"
                "{\"id\":2,\"prompt\":\"ab\",\"responses\":[\"cd\",\"\"],\"scores\":[{\"reward\":4},null]}\n"
                "{\"id\":3,\"prompt\":\"ab\",\"hypotheses\":[{\"text\":\"cd\",\"scores\":{\"mean\":5}},{\"text\":\"d\"}]}\n");
  const auto records = [&] {
    scored.run();
    std::vector<io::Json> all;
    for (const std::string& line : io::read_lines(scored.options.output)) all.push_back(io::parse_json(line, "record"));
    return all;
  };
  const std::vector<io::Json> first = records();
  REQUIRE(first.size() == 3);
  CHECK((first[0].at("scores").at("reward").as_int() == 3 && first[0].at("scores").at("tokens").as_int() == 3));
  const io::JsonArray& list = first[1].at("scores").as_array();
  CHECK((list.at(0).at("reward").as_int() == 4 && list.at(0).at("tokens").as_int() == 3 && list.at(1).at("tokens").as_int() == 1));
  const io::Json hypothesis = first[2].at("hypotheses").as_array().at(0);
  CHECK((hypothesis.at("scores").at("mean").as_int() == 5 && hypothesis.at("scores").at("lm-tokens").as_int() == 3));
  // The scores of a second model need other names.
  put(scored.input, get(scored.options.output));
  CHECK(scored.failure().says(":1: record 1: \"scores\" has a \"logprob\" already; --name"));
  put(scored.input, first[2].dump() + "\n");
  CHECK(scored.failure().says(":1: record 3: hypothesis 1: \"scores\" has a \"lm-logprob\" already; --name"));
  put(scored.input, first[0].dump() + "\n" + first[1].dump() + "\n" + first[2].dump() + "\n");
  scored.options.name = "large";
  scored.options.per_token = true;
  const std::vector<io::Json> second = records();
  CHECK(second[0].at("scores").at("large-logprob").as_double() == first[0].at("scores").at("logprob").as_double());
  CHECK(second[0].at("scores").at("logprob").as_double() == first[0].at("scores").at("logprob").as_double());
  CHECK(second[1].at("scores").as_array().at(1).at("large-tokens").as_int() == 1);
  CHECK(second[2].at("hypotheses").as_array().at(0).at("scores").at("lm-tokens").as_int() == 3);
  CHECK(second[2].at("hypotheses").as_array().at(0).at("scores").at("large-tokens").as_int() == 3);
  CHECK(second[2].at("hypotheses").as_array().at(0).at("large-logprobs").as_array().size() == 3);
}

TEST_CASE("a hypothesis that never came to an end token is scored without one", "[score]") {
  Scored scored("{\"id\":1,\"prompt\":\"ab\",\"hypotheses\":[{\"text\":\"cd\",\"finish\":\"end\"},{\"text\":\"cd\",\"finish\":\"length\"},"
                "{\"text\":\"cd\",\"finish\":\"stop\"},{\"text\":\"cd\"},{\"text\":\"\",\"finish\":\"length\"}]}\n");
  scored.run();
  const io::Json record = io::parse_json(io::read_lines(scored.options.output).at(0), "record");
  const std::vector<double> all = scored.streamed.model.model->score({{0, 2, 3, 4, 5, 1}}, 1);
  const std::vector<int64_t> tokens{3, 2, 2, 3, 0};
  for (size_t i = 0; i < tokens.size(); ++i) {
    CAPTURE(i);
    const io::Json& scores = record.at("hypotheses").as_array().at(i).at("scores");
    CHECK(scores.at("lm-tokens").as_int() == tokens[i]);
    CHECK(scores.at("lm-logprob").as_double() == Approx(tokens[i] == 0 ? 0 : all[2] + all[3] + (tokens[i] == 3 ? all[4] : 0)));
  }
}

TEST_CASE("bad records of answers name the place", "[score]") {
  const auto says = [](const std::string& record, const std::string& message) {
    Scored scored("{\"id\":0,\"prompt\":\"a\",\"response\":\"b\"}\n" + record + "\n", 6);
    const Failure failure = scored.failure();
    CAPTURE(failure.message);
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(scored.input + ":2"));
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
  says("{\"id\":\"x\",\"prompt\":\"a\",\"hypotheses\":[{\"text\":\"b\",\"finish\":1}]}", "\"finish\" is an integer");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"hypotheses\":[{\"text\":\"b\",\"scores\":[]}]}", "hypothesis 1: \"scores\" is");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"response\":\"b\",\"scores\":[{\"reward\":3}]}", "\"scores\" is an array, expected an object");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"response\":\"b\",\"scores\":3}", "\"scores\" is an integer, expected an object");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"responses\":[\"b\"],\"scores\":{\"reward\":3}}", "expected a list of objects");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"responses\":[\"b\",\"c\"],\"scores\":[{}]}", "has 1 entries, expected 2");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"responses\":[\"b\",\"c\"],\"scores\":[{},4]}", "response 2: \"scores\" is an integer");
  says("{\"id\":\"x\",\"prompt\":\"abc\",\"response\":\"def\"}", "--truncate left");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"responses\":[\"b\",\"abcdefabc\"]}", "record x: response 2: prompt and response have");
  says("{\"id\":\"x\",\"prompt\":\"a\",\"hypotheses\":[{\"text\":\"b\"},{\"text\":\"abcdefabc\"}]}", "record x: hypothesis 2: prompt and response have");
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

  put(scored.input, "{\"text\":\"abc\"}\n{\"text\":\"\"}\n{\"text\":\"de\"}\n");
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

  // Several files are one text.
  scored.options.inputs = {put(scored.streamed.dir / "one", "{\"text\":\"abc\"}\n"), put(scored.streamed.dir / "two", "{\"text\":\"de\"}\n")};
  CHECK(io::parse_json(scored.run(), "files").dump() == documents.dump());
  put(scored.options.inputs[0], "abc");
  put(scored.options.inputs[1], "de");
  scored.options.inputs.insert(scored.options.inputs.begin() + 1, put(scored.streamed.dir / "empty", ""));
  scored.options.format = "text";
  CHECK(io::parse_json(scored.run(), "files").dump() == documents.dump());
  scored.options.inputs = {scored.input};
  scored.options.format = "jsonl";

  put(scored.input, "{\"text\":1}\n");
  CHECK(scored.failure().says(scored.input + ":1"));
  put(scored.input, "");
  scored.options.format = "text";
  CHECK(scored.failure().says("there is no text"));
  scored.options.window = 2000;
  CHECK(scored.failure().exit_code == kExitUsage);
}

TEST_CASE("a perplexity beyond all numbers is null, and nll tells what it is", "[score]") {
  Scored scored("abc");
  scored.options.perplexity = scored.options.json = true;
  scored.streamed.model.model = std::make_unique<FakeLanguageModel>([](const Tokens&) { return std::vector<float>(8, -400); }, 8);
  const io::Json result = io::parse_json(scored.run(), "result");
  CHECK(result.at("nll").as_double() == 1600);
  CHECK(result.at("ppl").as_double() == Approx(std::exp(400.0)));
  CHECK(result.at("word-ppl").is_null());
  scored.options.json = false;
  CHECK(scored.run().find("inf per word") != std::string::npos);
}

TEST_CASE("progress is a line that is rewritten, or a message now and then", "[stream]") {
  Progress none(progress_style(true, true, false)), rewritten(progress_style(false, true, false)), messages(progress_style(false, false, true));
  CHECK(progress_style(false, true, true) == ProgressStyle::kNone);
  std::vector<double> shown, said;
  for (double now = 0; now < 25; now += 0.25) {
    CHECK(!none.is_due(now));
    if (rewritten.is_due(now)) shown.push_back(now);
    if (messages.is_due(now)) said.push_back(now);
  }
  CHECK(shown.size() == 49);
  CHECK(said == std::vector<double>{10, 20});
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
  CHECK(code([](ScoreStreamOptions& o) { o.inputs = {"a", "b"}; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.inputs = {"a", "b"}; }) == kExitDone);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.inputs = {"-", "-"}; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.name = "x"; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = o.per_token = true; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.end = false; }) == kExitUsage);
  CHECK(code([](ScoreStreamOptions& o) { o.perplexity = true, o.truncate = "left"; }) == kExitUsage);
}
