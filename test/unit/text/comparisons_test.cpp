#include "text/comparisons.h"

#include <catch2/catch.hpp>
#include <unistd.h>

#include <cmath>

#include "base/log.h"
#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

Record record(const std::string& json) { return make_record(io::parse_json(json, "in.jsonl:1"), "in.jsonl:1", 1); }

ComparisonOptions with(std::vector<std::string> labels, std::vector<std::string> fields = {}) {
  ComparisonOptions options;
  options.labels = std::move(labels);
  options.fields = std::move(fields);
  return options;
}

std::string show(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) text += message.role.substr(0, 1) + ":" + message.content + ";";
  return text;
}

// "u:prompt; | first=1 second=0 | by 2 | tie", graded merits with a ~.
std::string show(const std::string& json, const ComparisonOptions& options = {}) {
  bool is_tie = false;
  const Comparison comparison = read_comparison(record(json), options, is_tie);
  std::string text = show(comparison.messages) + " |";
  for (size_t i = 0; i < comparison.responses.size(); ++i) text += fmt::format(" {}={}{}", comparison.responses[i], comparison.is_graded ? "~" : "", comparison.merits.at(i));
  if (comparison.styles > 0) text += fmt::format(" | {} styles", comparison.styles);
  if (comparison.margin) text += fmt::format(" | by {}", *comparison.margin);
  return text + (is_tie ? " | tie" : "");
}

Failure failure(const std::string& json, const ComparisonOptions& options = {}) {
  bool is_tie = false;
  return failure_of([&] { read_comparison(record(json), options, is_tie); });
}

// Of the messages of a log while `work` runs.
template <typename Work>
std::string log_of(Work work) {
  TempDir dir;
  const log::Level level = log::level();
  log::set_level(log::Level::kInfo);
  log::open_copy(dir / "log");
  work();
  log::open_copy("");
  log::set_level(level);
  return get(dir / "log");
}

}  // namespace

TEST_CASE("chosen and rejected as texts") {
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R"})") == "u:Q; | C=1 R=0");
  CHECK(show(R"({"system":"S","question":"Q","chosen":"C","rejected":"R"})") == "s:S;u:Q; | C=1 R=0");
  CHECK(show(R"({"query":"Q","system":"","chosen":"C","rejected":"R"})") == "u:Q; | C=1 R=0");
  CHECK(show(R"({"instruction":"I","input":"","output":"O","chosen":"C","rejected":"R"})") == "u:I; | C=1 R=0");
  CHECK(show(R"({"instruction":"I","input":"N","chosen":"C","rejected":"R"})") == "u:I\n\nN; | C=1 R=0");
  CHECK(show(R"({"input":"N","chosen":"C","rejected":"R"})") == "u:N; | C=1 R=0");
  CHECK(show(R"({"prompt":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"},{"role":"user","content":"Q2"}],"chosen":"C","rejected":"R"})") ==
        "u:Q;a:A;u:Q2; | C=1 R=0");
  // The prompt goes before other names of one.
  CHECK(show(R"({"messages":[{"role":"assistant","content":"x"}],"prompt":"Q","chosen":"C","rejected":"R"})") == "u:Q; | C=1 R=0");
}

TEST_CASE("whole dialogues in a text share their beginning up to the answer") {
  CHECK(show(R"({"chosen":"\n\nHuman: H\n\nAssistant: A\n\nHuman: K\n\nAssistant: Yes","rejected":"\n\nHuman: H\n\nAssistant: A\n\nHuman: K\n\nAssistant: Yo"})") ==
        "u:Human: H\n\nAssistant: A\n\nHuman: K\n\nAssistant:; | Yes=1 Yo=0");
  CHECK(failure(R"({"chosen":"\n\nHuman: H\n\nAssistant:","rejected":"\n\nHuman: H\n\nAssistant: A"})").says("\"chosen\" is empty"));
  const std::string begin = R"({"chosen":"\n\nHuman: H\n\nAssistant: A)", end = R"(\n\nHuman: K\n\nAssistant: Yes")";
  // Their first answers differ already.
  CHECK(failure(begin + end + R"(,"rejected":"\n\nHuman: H\n\nAssistant: B)" + end + "}").says("part before their last answers: behind what they have in common, the first has another \"Human:\""));
  CHECK(failure(begin + "\"" + R"(,"rejected":"\n\nHuman: H\n\nAssistant: B)" + end + "}").says("the second has another \"Human:\""));
  CHECK(failure(begin + "\"" + R"(,"rejected":"\n\nHuman: H\n\nAssistant: B\n\nAssistant: C"})").says("the second has another \"Assistant:\""));
  CHECK(failure(R"({"chosen":"Yes","rejected":"No"})").says(R"(the field "prompt", "messages", "question", "query", "instruction" or "input" is missing)"));
}

TEST_CASE("chosen and rejected as messages") {
  const std::string q = R"({"role":"user","content":"Q"},)", c = R"({"role":"assistant","content":"C"})", r = R"({"role":"assistant","content":"R"})";
  CHECK(show(R"({"prompt":"Q","chosen":[)" + c + R"(],"rejected":[)" + r + "]}") == "u:Q; | C=1 R=0");
  CHECK(show(R"({"chosen":[)" + q + c + R"(],"rejected":[)" + q + r + "]}") == "u:Q; | C=1 R=0");
  CHECK(show(R"({"prompt":"Q","system":"S","chosen":[)" + q + c + R"(],"rejected":[)" + q + r + "]}") == "s:S;u:Q; | C=1 R=0");
  const std::string longer = q + R"({"role":"assistant","content":"A"},{"role":"user","content":"Q2"},)";
  CHECK(show(R"({"prompt":"Q","chosen":[)" + longer + c + R"(],"rejected":[)" + longer + r + "]}") == "u:Q;a:A;u:Q2; | C=1 R=0");
  CHECK(failure(R"({"chosen":[)" + longer + c + R"(],"rejected":[)" + q + r + "]}").says("\"chosen\" and \"rejected\" part before their last answers"));
  CHECK(failure(R"({"prompt":"other","chosen":[)" + q + c + R"(],"rejected":[)" + q + r + "]}").says("\"chosen\" does not go on from \"prompt\""));
  CHECK(failure(R"({"chosen":[)" + c + R"(],"rejected":[)" + r + "]}").says("\"prompt\""));
  CHECK(failure(R"({"prompt":"Q","chosen":[{"role":"user","content":"C"}],"rejected":[)" + r + "]}").says("\"chosen\" ends with a message of the role user"));
  CHECK(failure(R"({"prompt":"Q","chosen":[)" + c + R"(],"rejected":"R"})").says("\"rejected\" is a string, expected a list of messages"));
  CHECK(failure(R"({"prompt":"Q","chosen":[{"role":"tool","content":"C"}],"rejected":[)" + r + "]}").says("\"chosen\": message 1: the role is \"tool\""));
  CHECK(failure(R"({"prompt":"Q","chosen":[],"rejected":[]})").says("\"chosen\": the list of messages is empty"));
}

TEST_CASE("scores make merits that are graded, and margins stand beside the order") {
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":1.5})") == "u:Q; | C=1 R=0 | by 1.5");
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":0})") == "u:Q; | C=1 R=0 | by 0");
  for (const char* margin : {"0", "2.5"}) {
    bool is_tie = true;
    const auto pairs = preferences_of(read_comparison(record(fmt::format(R"({{"prompt":"Q","chosen":"C","rejected":"R","margin":{}}})", margin)), {}, is_tie));
    CHECK_FALSE(is_tie);
    REQUIRE(pairs.size() == 1);
    CHECK((pairs[0].better == 0 && pairs[0].worse == 1 && pairs[0].margin == std::stod(margin)));
  }
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","metadata":{"score_chosen":9,"score_rejected":6.5}})") == "u:Q; | C=~9 R=~6.5");
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":-1,"score_rejected":-3})") == "u:Q; | C=~-1 R=~-3");
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":2,"score_rejected":2})") == "u:Q; | C=~2 R=~2 | tie");
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":2,"score_rejected":2})", with({}, {"score_chosen=,score_rejected="})) == "u:Q; | C=1 R=0");
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":-1})").says("\"margin\" is -1, expected no less than 0"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":"nan"})").says("\"margin\" is a string (\"nan\"), expected a finite number"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":1,"score_rejected":2})").says("\"score_chosen\" is 1, less than 2 of what was rejected"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":1})").says("the field \"score_rejected\", \"rejected_score\" or \"metadata.score_rejected\" is missing"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":1,"score_chosen":2,"score_rejected":1})").says("it has both \"margin\" and \"score_chosen\""));
  Record infinite = record(R"({"prompt":"Q","chosen":"C","rejected":"R"})");
  infinite.json.set("margin", std::nan(""));
  bool is_tie = false;
  CHECK(failure_of([&] { read_comparison(infinite, {}, is_tie); }).says("in.jsonl:1: record 1: \"margin\" is nan, expected a finite number"));
}

TEST_CASE("several chosen and several rejected are styles") {
  CHECK(show(R"({"prompt":"Q","chosen":["a","b","c"],"rejected":["x","y","z"]})") == "u:Q; | a=1 b=1 c=1 x=0 y=0 z=0 | 3 styles");
  CHECK(show(R"({"prompt":"Q","chosen":["a"],"rejected":["x","y","z"]})") == "u:Q; | a=1 x=0 y=0 z=0");
  bool is_tie = false;
  const auto pairs = preferences_of(read_comparison(record(R"({"prompt":"Q","chosen":["a","b"],"rejected":["x","y"]})"), {}, is_tie));
  std::string shown;
  for (const Preference& pair : pairs) shown += fmt::format("{}>{} {};", pair.better, pair.worse, pair.margin);
  CHECK(shown == "0>2 1;0>3 1;1>2 1;1>3 1;");
  CHECK(failure(R"({"prompt":"Q","chosen":["a","b"],"rejected":["x","a"]})").says("\"chosen[0]\" and \"rejected[1]\" are equal, though one is said to be better"));
  CHECK(failure(R"({"prompt":"Q","chosen":["a","b"],"rejected":"x"})").says("\"rejected\" is a string, expected a list of strings"));
  CHECK(failure(R"({"prompt":"Q","chosen":["a",1],"rejected":["x","y"]})").says("\"chosen\" holds an integer, expected strings"));
  CHECK(failure(R"({"prompt":"Q","chosen":["a"],"rejected":[]})").says("\"rejected\" is empty, expected at least one response"));
}

TEST_CASE("lists with ranks or scores") {
  CHECK(show(R"({"prompt":"Q","responses":["a","b","c"],"ranks":[2,1,3]})") == "u:Q; | a=-2 b=-1 c=-3");
  CHECK(show(R"({"prompt":"Q","responses":["a","b"],"scores":[0.5,2]})") == "u:Q; | a=~0.5 b=~2");
  CHECK(show(R"({"prompt":"Q","responses":["a","b"],"scores":[2,2]})") == "u:Q; | a=~2 b=~2 | tie");
  CHECK(show(R"({"prompt":"Q","responses":["a","b"],"label":2})") == "u:Q; | a=0 b=1");
  bool is_tie = false;
  std::string shown;
  for (const Preference& pair : preferences_of(read_comparison(record(R"({"prompt":"Q","responses":["a","b","c"],"scores":[1,3,1]})"), {}, is_tie))) {
    shown += fmt::format("{}>{} {};", pair.better, pair.worse, pair.margin);
  }
  CHECK(shown == "1>0 2;1>2 2;");
  CHECK(failure(R"({"prompt":"Q","responses":["a"],"ranks":[1]})").says("\"responses\" has one, expected at least two"));
  CHECK(failure(R"({"prompt":"Q","responses":[],"ranks":[]})").says("\"responses\" has none, expected at least two"));
  CHECK(failure(R"({"prompt":"Q","responses":["a","b","c"],"ranks":[1,2]})").says("\"ranks\" has 2 numbers, expected one for each of the 3 responses"));
  CHECK(failure(R"({"prompt":"Q","responses":["a","b"],"scores":[1,null]})").says("\"scores[1]\" is null, expected a finite number"));
  CHECK(failure(R"({"prompt":"Q","responses":["a","b"],"scores":[1,2],"ranks":[1,2]})").says("it has both \"ranks\" and \"scores\""));
  CHECK(failure(R"({"prompt":"Q","responses":["a","b","c"]})").says("it has no \"ranks\" and no \"scores\", expected which of \"responses\" are better"));
  CHECK(failure(R"({"prompt":"Q","responses":["a","a"],"scores":[1,2]})").says("\"responses[0]\" and \"responses[1]\" are equal"));
  CHECK(show(R"({"prompt":"Q","responses":["a","a","b"],"scores":[1,1,2]})") == "u:Q; | a=~1 a=~1 b=~2");
}

TEST_CASE("two responses with a label") {
  for (const auto& [first, second] : std::vector<std::pair<std::string, std::string>>{{"response_a", "response_b"}, {"response_A", "response_B"}, {"response_1", "response_2"},
                                                                                      {"response1", "response2"}, {"response 1", "response 2"}, {"output_1", "output_2"},
                                                                                      {"answer_a", "answer_b"}, {"completion_a", "completion_b"}}) {
    CAPTURE(first);
    const std::string begin = R"({"prompt":"Q",")" + first + R"(":"x",")" + second + R"(":"y",)";
    for (const std::string label : {"1", "\"A\"", "\"a\"", "\"A>B\"", "\"A>>B\"", "\"first\"", "\"response_a\"", "\"model_a\"", "1.0"}) {
      CHECK(show(begin + "\"label\":" + label + "}") == "u:Q; | x=1 y=0");
    }
    for (const std::string label : {"2", "\"B\"", "\"b\"", "\"B>A\"", "\"second\"", "\"Response B\""}) CHECK(show(begin + "\"preference\":" + label + "}") == "u:Q; | x=0 y=1");
    for (const std::string label : {"\"tie\"", "\"A=B\"", "\"both\"", "\"Tie\""}) CHECK(show(begin + "\"winner\":" + label + "}") == "u:Q; | x=0 y=0 | tie");
    CHECK(show(begin + "\"label\":\"" + second + "\"}") == "u:Q; | x=0 y=1");
    CHECK(failure(begin + "\"label\":3}").says("in.jsonl:1: record 1: \"label\" is \"3\", expected 1 or A (the first is better), 2 or B"));
    CHECK(failure(begin + "\"label\":null}").says("it has no \"label\", \"preference\" or \"winner\", no scores of names such as"));
    CHECK(failure(begin + "\"label\":[1]}").says("\"label\" is an array, expected a label"));
    for (const std::string zero : {"0", "0.0", "\"0\""}) {
      const Failure unclear = failure(begin + "\"label\":" + zero + "}");
      CHECK((unclear.exit_code == kExitUsage && unclear.says("in.jsonl:1: record 1: \"label\" is 0, which may mean the first answer or neither; --labels says which: 0,1 or 0,1,2")));
    }
    CHECK(show(begin + "\"label\":0}", with({"1,2,0"})) == "u:Q; | x=0 y=0 | tie");
    CHECK(show(begin + "\"label\":0}", with({"0", "1", "2"})) == "u:Q; | x=1 y=0");
    CHECK(show(begin + "\"label\":1}", with({"0,1,2"})) == "u:Q; | x=0 y=1");
    CHECK(show(begin + "\"label\":2}", with({"0,1,2"})) == "u:Q; | x=0 y=0 | tie");
    CHECK(failure(begin + "\"label\":2}", with({"0", "1"})).says("\"label\" is \"2\", expected one of 0, 1 (--labels)"));
  }
  // Names that count from 0 leave open what a number means.
  CHECK(failure(R"({"prompt":"Q","response_0":"x","response_1":"y","label":1})").says("--labels 0,1"));
  CHECK(show(R"({"prompt":"Q","response_0":"x","response_1":"y","label":1})", with({"0,1"})) == "u:Q; | x=0 y=1");
  CHECK(show(R"({"prompt":"Q","response_0":"x","response_1":"y","label":"response_0"})") == "u:Q; | x=1 y=0");
  CHECK(failure(R"({"prompt":"Q","response_1":"x","response_2":"y","response_3":"z","label":1})").says("it has \"response_3\" too, expected two"));
  CHECK(failure(R"({"prompt":"Q","response_0":"x","response_1":"y","response_2":"z","label":1})").says("it has \"response_2\" too, expected two"));
}

TEST_CASE("two responses with scores or annotators") {
  CHECK(show(R"({"prompt":"Q","response_a":"x","response_b":"y","score_a":-0.5,"score_b":0.5})") == "u:Q; | x=~-0.5 y=~0.5");
  CHECK(show(R"({"prompt":"Q","response_a":"x","response_b":"y","score_a":0,"score_b":0})") == "u:Q; | x=~0 y=~0 | tie");
  CHECK(show(R"({"prompt":"Q","answer_0":"x","answer_1":"y","score_0":1,"score_1":0})") == "u:Q; | x=~1 y=~0");
  const std::string begin = R"({"prompt":"Q","response1":"x","response2":"y",)";
  CHECK(show(begin + R"("annotator1":2,"annotator2":1,"annotator3":2})") == "u:Q; | x=0 y=1");
  CHECK(show(begin + R"("annotator1":1,"annotator2":0,"annotator3":2})") == "u:Q; | x=0 y=0 | tie");
  CHECK(show(begin + R"("annotator1":1,"annotator2":0})") == "u:Q; | x=0 y=0 | tie");
  CHECK(show(begin + R"("annotator1":1})") == "u:Q; | x=1 y=0");
  CHECK(failure(begin + R"("annotator1":1,"annotator2":7,"annotator3":1})").says("\"annotator2\" is \"7\""));
  const std::string both = begin + R"("label":2,"score_1":3,"score_2":1})";
  CHECK(failure(both).says("it has both \"label\" and \"score_1\""));
  CHECK(show(both, with({}, {"label="})) == "u:Q; | x=~3 y=~1");
  CHECK(show(both, with({}, {"label=label"})) == "u:Q; | x=0 y=1");
  CHECK(show(both, with({}, {"score_a=score_1,score_b=score_2"})) == "u:Q; | x=~3 y=~1");
}

TEST_CASE("without verdicts every shape is a pair or a list of answers") {
  ComparisonOptions ignored;
  ignored.verdicts = Verdicts::kIgnored;
  const std::string pair = R"({"prompt":"Q","response_a":"x","response_b":"y")";
  for (const char* verdict : {"}", R"(,"label":2})", R"(,"label":0})", R"(,"label":"no such"})", R"(,"label":1,"score_a":1,"score_b":2})", R"(,"score_a":1,"score_b":null})", R"(,"annotator1":true})"}) {
    CAPTURE(verdict);
    CHECK(show(pair + verdict, ignored) == "u:Q; | x=0 y=0");
  }
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","score_chosen":1,"score_rejected":2})", ignored) == "u:Q; | C=0 R=0");
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","margin":"large"})", ignored) == "u:Q; | C=0 R=0");
  CHECK(show(R"({"prompt":"Q","responses":["a","b","c"]})", ignored) == "u:Q; | a=0 b=0 c=0");
  CHECK(show(R"({"prompt":"Q","responses":["a","a"],"scores":[1,2]})", ignored) == "u:Q; | a=0 a=0");
  CHECK(show(R"({"prompt":"Q","chosen":["a","b"],"rejected":["x"]})", ignored) == "u:Q; | a=0 b=0 x=0");
  // What is no pair stays bad.
  CHECK(failure(R"({"prompt":"Q","response_a":"x","response_b":""})", ignored).says("\"response_b\" is empty"));
  CHECK(failure(R"({"prompt":"Q","responses":["a"]})", ignored).says("at least two"));
  TempDir dir;
  ComparisonReader reader(put(dir / "in", pair + "}\n" + pair + R"(,"label":"tie"})" + "\n"), ignored);
  Comparison comparison;
  CHECK((reader.next(comparison) && reader.next(comparison) && !reader.next(comparison)));
  CHECK((reader.counts().records == 2 && reader.counts().ties == 0));
}

TEST_CASE("fields are found under names that the user gives, and in objects") {
  CHECK(show(R"({"q":"Q","good":"C","bad":"R"})", with({}, {"prompt=q", "chosen=good", "rejected=bad"})) == "u:Q; | C=1 R=0");
  const std::string styled = R"({"query":"Q","responses":{"academy":"x","normal":"y","other":"z"}})";
  CHECK(show(styled, with({}, {"chosen=responses.academy", "rejected=responses.normal"})) == "u:Q; | x=1 y=0");
  CHECK(failure(styled).says("\"responses\" is an object, expected a list; --fields chosen=responses.NAME"));
  CHECK(failure(styled, with({}, {"chosen=responses.none", "rejected=responses.normal"})).says("the field \"responses.none\" is missing"));
  CHECK(show(R"({"history":"Q","human_ref_A":"x","human_ref_B":"y","labels":0})",
             with({"1,0"}, {"prompt=history,response_a=human_ref_A,response_b=human_ref_B,label=labels"})) == "u:Q; | x=0 y=1");
  CHECK(show(R"({"a.b":"Q","chosen":"C","rejected":"R"})", with({}, {"prompt=a.b"})) == "u:Q; | C=1 R=0");
  // What was named is what is taken, whatever else is there.
  CHECK(show(R"({"prompt":"Q","chosen":"C","rejected":"R","x":"1st","y":"2nd","label":2})", with({}, {"response_a=x", "response_b=y"})) == "u:Q; | 1st=0 2nd=1");
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"R"})", with({}, {"prompt=question"})).says("the field \"question\" is missing"));
  const auto usage = [](const ComparisonOptions& options) { return failure(R"({"prompt":"Q","chosen":"C","rejected":"R"})", options); };
  CHECK(usage(with({}, {"promt=q"})).exit_code == kExitUsage);
  CHECK(usage(with({}, {"promt=q"})).says("'promt' is no field of comparisons, did you mean prompt?"));
  CHECK(usage(with({}, {"prompt"})).exit_code == kExitUsage);
  CHECK(usage(with({}, {"prompt=a", "prompt=b"})).exit_code == kExitUsage);
  CHECK(usage(with({"1"})).exit_code == kExitUsage);
  CHECK(usage(with({"1", "1"})).exit_code == kExitUsage);
  CHECK(usage(with({"1,2,3,4"})).exit_code == kExitUsage);
}

TEST_CASE("subsets, ids and unknown fields of comparisons") {
  bool is_tie = false;
  const auto read = [&](const std::string& json, const ComparisonOptions& options = {}) { return read_comparison(record(json), options, is_tie); };
  CHECK(read(R"({"prompt":"Q","chosen":"C","rejected":"R"})").subset.empty());
  CHECK(read(R"({"prompt":"Q","chosen":"C","rejected":"R","source":"s","subset":"t"})").subset == "t");
  CHECK(read(R"({"prompt":"Q","chosen":"C","rejected":"R","scenario":"s"})").subset == "s");
  CHECK(read(R"({"prompt":"Q","chosen":"C","rejected":"R","source":{"x":1}})").subset.empty());
  CHECK(read(R"({"prompt":"Q","chosen":"C","rejected":"R","kind":7})", with({}, {"subset=kind"})).subset == "7");
  const Comparison whole = read(R"({"id":"k","x":[1],"prompt":"Q","chosen":"C","rejected":"R"})");
  CHECK(whole.id == "k");
  CHECK(whole.place == "in.jsonl:1: record k");
  CHECK(whole.json.dump() == R"({"id":"k","x":[1],"prompt":"Q","chosen":"C","rejected":"R"})");
}

TEST_CASE("bad comparisons say what is wrong") {
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":"C"})").says("in.jsonl:1: record 1: \"chosen\" and \"rejected\" are equal, though one is said to be better"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":""})").says("\"rejected\" is empty"));
  CHECK(failure(R"({"prompt":"Q","chosen":" \n","rejected":"R"})").says("\"chosen\" is empty"));
  CHECK(failure(R"({"prompt":" ","chosen":"C","rejected":"R"})").says("the prompt is empty"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C"})").says("the field \"rejected\" is missing"));
  CHECK(failure(R"({"prompt":"Q","chosen":"C","rejected":null})").says("the field \"rejected\" is missing"));
  CHECK(failure(R"({"prompt":"Q","chosen":true,"rejected":"R"})").says("\"chosen\" is true or false, expected a string or a list of messages"));
  CHECK(failure(R"({"prompt":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}],"chosen":"C","rejected":"R"})").says("the prompt ends with an answer"));
  CHECK(failure(R"({"prompt":[{"role":"system","content":"Q"}],"chosen":"C","rejected":"R"})").says("the prompt ends with a message of the role system"));
  CHECK(failure(R"({"prompt":7,"chosen":"C","rejected":"R"})").says("\"prompt\" is an integer, expected a string or a list of messages"));
  const Failure nothing = failure(R"({"prompt":"Q","text":"C"})");
  CHECK(nothing.says("it has no \"chosen\" and \"rejected\", no \"responses\", and no two of names such as \"response_a\""));
  CHECK(nothing.says("found id, prompt, text"));
  CHECK(nothing.exit_code == kExitFailure);
  // Equal answers of a tie are no contradiction.
  CHECK(show(R"({"prompt":"Q","response_a":"x","response_b":"x","label":"tie"})") == "u:Q; | x=0 x=0 | tie");
}

TEST_CASE("files of comparisons are lines or an array, packed or not") {
  TempDir dir;
  const std::string a = R"({"prompt":"Q","chosen":"C","rejected":"R"})", tie = R"({"prompt":"Q","response_a":"x","response_b":"y","label":"tie"})";
  const std::string lines = a + "\n" + tie + "\n" + a + "\n", array = "[\n" + a + ",\n" + tie + "\n, " + a + "]\n";
  for (const std::string& text : {lines, array, "[" + a + "," + tie + "," + a + "]", gzip(lines), gzip(array)}) {
    ComparisonReader reader(put(dir / "in", text), {});
    std::string ids;
    for (Comparison comparison; reader.next(comparison);) ids += comparison.id + ";";
    CHECK(ids == "1;3;");
    CHECK(reader.counts().records == 3);
    CHECK(reader.counts().ties == 1);
    CHECK(reader.counts().bad == 0);
  }
  ComparisonReader none(put(dir / "none", ""), {});
  Comparison comparison;
  CHECK_FALSE(none.next(comparison));
  ComparisonReader empty(put(dir / "empty", "[]"), {});
  CHECK_FALSE(empty.next(comparison));
  const auto failed = [&](const std::string& text, bool skip_bad = false) {
    ComparisonOptions options;
    options.skip_bad = skip_bad;
    const std::string path = put(dir / "bad", text);
    return failure_of([&] {
      ComparisonReader reader(path, options);
      for (Comparison one; reader.next(one);) continue;
    });
  };
  CHECK(failed(a + "\n{\"prompt\":\"Q\"}\n").says("bad:2: record 2: it has no \"chosen\""));
  CHECK(failed(a + "\n\n").says("bad:2: found an empty line"));
  CHECK(failed("[" + a + ",{\"id\":\"k\"}]").says("bad: record k: it has no \"chosen\""));
  CHECK(failed("[" + a + ",7]").says("bad: record 2: expected a JSON object, found an integer"));
  CHECK(failed(a + "\n[1]\n").says("bad:2: expected a JSON object, found an array"));
  // An array that is broken is no record that could be left out.
  CHECK(failed("[" + a + ",\n", true).says("bad: not valid JSON"));
  CHECK(failed(gzip(lines).substr(0, 40), true).says("truncated"));
}

TEST_CASE("bad records are left out and counted when that is asked for") {
  TempDir dir;
  const std::string a = R"({"prompt":"Q","chosen":"C","rejected":"R"})";
  const std::string bad = std::string("{\"x\":\n\n7\n\"\xff\"\n") + R"({"prompt":"Q","chosen":"C","rejected":"C"})" + "\n";
  ComparisonOptions options;
  options.skip_bad = true;
  std::vector<Comparison> comparisons;
  const std::string path = put(dir / "in.jsonl", a + "\n" + bad + a + "\n");
  const std::string logged = log_of([&] { comparisons = read_comparisons({path, path}, options); });
  CHECK(comparisons.size() == 4);
  CHECK(comparisons[1].id == "7");
  CHECK(logged.find("in.jsonl: 2 comparisons") != std::string::npos);
  CHECK(logged.find("in.jsonl: 5 bad records were left out (--skip-bad)") != std::string::npos);
  CHECK(logged.find("left out: " + path + ":6: record 6: \"chosen\" and \"rejected\" are equal") != std::string::npos);
  const std::string array = put(dir / "in.json", "[7," + a + "]");
  CHECK(log_of([&] { comparisons = read_comparisons({array}, options); }).find("1 bad records") != std::string::npos);
  CHECK(comparisons.size() == 1);
  const std::string none = put(dir / "none.jsonl", bad + R"({"prompt":"Q","response_a":"x","response_b":"y","label":"tie"})" + "\n");
  CHECK(failure_of([&] { read_comparisons({none}, options); }).says("none.jsonl holds no comparison: of 6 records 5 are bad and 1 are ties"));
}

TEST_CASE("labels 0 and 1 are never read as something else") {
  TempDir dir;
  const auto labelled = [](int label) { return fmt::format(R"({{"prompt":"Q","response_a":"x","response_b":"y","label":{}}})", label) + "\n"; };
  const std::string path = put(dir / "in.jsonl", labelled(1) + labelled(1) + labelled(0));
  ComparisonOptions options;
  // What the ones mean would be wrong, so that the zeros cannot be left out alone.
  options.skip_bad = true;
  const Failure failed = failure_of([&] { read_comparisons({path}, options); });
  CHECK((failed.exit_code == kExitUsage && failed.says("in.jsonl:3: record 3: \"label\" is 0") && failed.says("--labels")));
  options.labels = {"0,1"};
  const std::vector<Comparison> read = read_comparisons({path}, options);
  REQUIRE(read.size() == 3);
  CHECK((read[0].merits == std::vector<double>{0, 1} && read[2].merits == std::vector<double>{1, 0}));
}

TEST_CASE("comparisons from standard input, line by line") {
  const std::string a = R"({"prompt":"Q","chosen":"C","rejected":"R"})";
  for (const bool is_array : {false, true}) {
    const int status = in_child([&] {
      int ends[2];
      if (::pipe(ends) != 0) return 9;
      ::dup2(ends[0], STDIN_FILENO);
      ComparisonReader reader("-", {});
      if (!reader.would_block()) return 1;
      const std::string first = is_array ? "[\n" + a + ",\n" + a + "]" : a + "\n";
      if (::write(ends[1], first.data(), first.size()) != static_cast<ssize_t>(first.size())) return 2;
      if (is_array) ::close(ends[1]);
      if (reader.would_block()) return 3;
      Comparison comparison;
      if (!reader.next(comparison)) return 4;
      if (reader.would_block() == is_array) return 5;
      if (!is_array) {
        const std::string second = a + "\n";
        if (::write(ends[1], second.data(), second.size()) != static_cast<ssize_t>(second.size())) return 6;
        ::close(ends[1]);
      }
      if (!reader.next(comparison) || comparison.id != "2") return 7;
      return reader.next(comparison) ? 8 : 0;
    });
    CHECK(WEXITSTATUS(status) == 0);
  }
}

TEST_CASE("answers with scores of their own") {
  const auto read = [](const std::string& json) { return read_graded(record(json)); };
  const Graded many = read(R"({"id":5,"prompt":"Q","response":"A","scores":{"helpful":3,"safe":null,"clear":0.5}})");
  CHECK(many.id == "5");
  CHECK(show(many.messages) == "u:Q;");
  CHECK(many.response == "A");
  CHECK(many.scores == std::map<std::string, double>{{"clear", 0.5}, {"helpful", 3}});
  CHECK(read(R"({"prompt":"Q","response":"A","score":-2})").scores == std::map<std::string, double>{{"score", -2}});
  const auto failed = [&](const std::string& json) { return failure_of([&] { read(json); }); };
  CHECK(failed(R"({"prompt":"Q","response":"A"})").says("in.jsonl:1: record 1: it has no \"scores\" and no \"score\""));
  CHECK(failed(R"({"prompt":"Q","response":"A","scores":{"a":null}})").says("it has no score that is a number"));
  CHECK(failed(R"({"prompt":"Q","response":"A","scores":{"a":"high"}})").says("\"scores.a\" is a string (\"high\"), expected a finite number"));
  CHECK(failed(R"({"prompt":"Q","response":"A","scores":[1]})").says("\"scores\" is an array, expected an object of numbers by aspect"));
  CHECK(failed(R"({"prompt":"Q","response":"A","scores":{"a":1},"score":1})").says("both"));
  CHECK(failed(R"({"prompt":"Q","response":"","score":1})").says("\"response\" is empty"));
  CHECK(failed(R"({"prompt":"Q","score":1})").says("the field \"response\" is missing"));
  CHECK(failed(R"({"response":"A","score":1})").says("\"prompt\""));
}

TEST_CASE("rated translations") {
  const auto read = [](const std::string& json) { return read_rated(record(json)); };
  const Rated rated = read(R"({"id":"a","source":"S","hypothesis":"H","reference":"R","scores":{"adequacy":0.5,"fluency":null},"k":1})");
  CHECK((rated.id == "a" && rated.source == "S" && rated.hypothesis == "H" && rated.reference == "R"));
  CHECK(rated.scores == std::map<std::string, double>{{"adequacy", 0.5}});
  CHECK(rated.json.at("k").as_int() == 1);
  CHECK_FALSE(read(R"({"source":"S","hypothesis":"H","score":1})").reference);
  CHECK_FALSE(read(R"({"source":"S","hypothesis":"H","reference":null,"score":1})").reference);
  const auto failed = [&](const std::string& json) { return failure_of([&] { read(json); }); };
  CHECK(failed(R"({"hypothesis":"H","score":1})").says("in.jsonl:1: record 1: the field \"source\" is missing"));
  CHECK(failed(R"({"source":"S","score":1})").says("the field \"hypothesis\" is missing"));
  CHECK(failed(R"({"source":"S","hypothesis":" ","score":1})").says("\"hypothesis\" is empty"));
  CHECK(failed(R"({"source":["S"],"hypothesis":"H","score":1})").says("\"source\" is an array, expected a string"));
  CHECK(failed(R"({"source":"S","hypothesis":"H","reference":"","score":1})").says("\"reference\" is empty"));
  CHECK(failed(R"({"source":"S","hypothesis":"H"})").says("it has no \"scores\" and no \"score\""));
  CHECK(failed(R"({"source":"S","hypothesis":"H","score":"good"})").says("\"score\" is a string (\"good\"), expected a finite number"));
}
