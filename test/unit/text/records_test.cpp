#include "text/records.h"

#include <catch2/catch.hpp>

#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

std::vector<Record> read_all(const std::string& text) {
  TempDir dir;
  RecordReader reader(put(dir / "in.jsonl", text));
  std::vector<Record> records;
  for (Record record; reader.next(record);) records.push_back(record);
  return records;
}

Record one(const std::string& json) { return read_all(json + "\n").at(0); }

template <typename Read>
Failure failure(const std::string& json, Read read) {
  return failure_of([&] { read(one(json), EmptyPrompts::kRefuse); });
}

std::string show(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) text += message.role.substr(0, 1) + ":" + message.content + ";";
  return text;
}

}  // namespace

TEST_CASE("records keep their fields, and have an id") {
  const auto records = read_all("{\"id\":7,\"x\":{\"y\":[1,2.5]}}\n{\"a\":1}\n{\"id\":\"s\"}\n");
  REQUIRE(records.size() == 3);
  CHECK(records[0].id == "7");
  CHECK(records[0].json.dump() == R"({"id":7,"x":{"y":[1,2.5]}})");
  CHECK(records[1].id == "2");
  CHECK(records[1].json.dump() == R"({"id":2,"a":1})");
  CHECK(records[2].id == "s");
  CHECK(records[2].place.find("in.jsonl:3: record s") != std::string::npos);
  CHECK(plain_prompt("Hi", 4).json.dump() == R"({"id":4,"prompt":"Hi"})");
  TempDir dir;
  RecordReader packed(put(dir / "in.jsonl.gz", gzip("{\"prompt\":\"" + std::string(1 << 20, 'x') + "\"}\n")));
  Record record;
  CHECK(packed.next(record));
  CHECK(packed.line_number() == 1);
  CHECK_FALSE(packed.next(record));
}

TEST_CASE("lines that are no records are errors with file and line, and reading can go on behind them") {
  for (const auto& [line, what] : std::vector<std::pair<std::string, std::string>>{
           {"{\"a\":", "in.jsonl:2: not valid JSON at byte"},
           {"[1]", "in.jsonl:2: expected a JSON object, found an array"},
           {"Hello", "in.jsonl:2: not valid JSON"},
           {"", "in.jsonl:2: found an empty line, expected a JSON object"},
           {"{\"id\":1.5}", "in.jsonl:2: \"id\" is a number, expected a string or an integer"},
           {"{\"id\":null}", "in.jsonl:2: \"id\" is null"},
           {"{\"prompt\":\"\\ud800\"}", "in.jsonl:2: not valid JSON"},
           {"{\"prompt\":\"\\udc00x\"}", "in.jsonl:2: not valid JSON"},
           {"{\"prompt\":\"\xED\xA0\x80\"}", "in.jsonl:2: "},
           {"{\"prompt\":\"\xFF\"}", "in.jsonl:2: "},
           {"{\"id\":1,\"id\":2}", "in.jsonl:2: the key \"id\" stands twice"}}) {
    CAPTURE(line);
    TempDir dir;
    RecordReader reader(put(dir / "in.jsonl", "{\"id\":\"first\"}\n" + line + "\n{\"id\":\"third\"}\n"));
    Record record;
    REQUIRE(reader.next(record));
    const Failure failure = failure_of([&] { reader.next(record); });
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(what));
    if (line.find('\xFF') != std::string::npos || line.find('\xED') != std::string::npos) continue;  // no text at all
    REQUIRE(reader.next(record));
    CHECK(record.id == "third");
    CHECK_FALSE(reader.next(record));
  }
  CHECK(one(R"({"prompt":"\ud83d\ude00"})").json.at("prompt").as_string() == "😀");
}

TEST_CASE("prompts are strings or messages") {
  const auto prompt = [](const std::string& json) { return show(read_prompt(one(json), EmptyPrompts::kRefuse).messages); };
  CHECK(prompt(R"({"prompt":"Hi"})") == "u:Hi;");
  CHECK(prompt(R"({"prompt":[{"role":"system","content":"S"},{"role":"user","content":"U"}]})") == "s:S;u:U;");
  CHECK(prompt(R"({"messages":[{"role":"user","content":"U"}]})") == "u:U;");
  CHECK(read_prompt(one(R"({"id":"a","prompt":"Hi","more":[1]})"), EmptyPrompts::kRefuse).json.dump() == R"({"id":"a","prompt":"Hi","more":[1]})");
  CHECK(read_prompt(one(R"({"prompt":""})"), EmptyPrompts::kAllow).messages.at(0).content.empty());
  CHECK(failure(R"({"id":"q","prompt":""})", read_prompt).says("in.jsonl:1: record q: the prompt is empty"));
  CHECK(failure(R"({"prompt":[{"role":"user","content":""}]})", read_prompt).says("record 1: the prompt is empty"));
  CHECK(failure(R"({"text":"x"})", read_prompt).says("record 1: it has no \"prompt\" and no \"messages\""));
  CHECK(failure(R"({"prompt":"x","messages":[]})", read_prompt).says("both \"prompt\" and \"messages\""));
  CHECK(failure(R"({"prompt":5})", read_prompt).says("record 1: \"prompt\" is an integer, expected a string or a list of messages"));
  CHECK(failure(R"({"prompt":[{"role":"robot","content":"x"}]})", read_prompt).says("record 1: \"prompt\": message 1: the role is \"robot\""));
  CHECK(failure(R"({"messages":[]})", read_prompt).says("record 1: \"messages\": the list of messages is empty"));
}

TEST_CASE("conversations come in three forms") {
  const auto read = [](const std::string& json) { return show(read_conversation(one(json), EmptyPrompts::kRefuse).messages); };
  CHECK(read(R"({"prompt":"Q","response":"A"})") == "u:Q;a:A;");
  CHECK(read(R"({"system":"S","prompt":"Q","response":"A"})") == "s:S;u:Q;a:A;");
  CHECK(read(R"({"prompt":[{"role":"user","content":"Q"}],"response":""})") == "u:Q;a:;");
  CHECK(read(R"({"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]})") == "u:Q;a:A;");
  CHECK(read(R"({"instruction":"I","output":"O"})") == "u:I;a:O;");
  CHECK(read(R"({"instruction":"I","input":"","output":"O"})") == "u:I;a:O;");
  CHECK(read(R"({"instruction":"I","input":"N","output":"O"})") == "u:I\n\nN;a:O;");
  CHECK(failure(R"({"prompt":"Q"})", read_conversation).says("record 1: the field \"response\" is missing"));
  CHECK(failure(R"({"prompt":"Q","response":1})", read_conversation).says("\"response\" is an integer, expected a string"));
  CHECK(failure(R"({"prompt":"","response":"A"})", read_conversation).says("the prompt is empty"));
  CHECK(failure(R"({"prompt":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}],"response":"A"})", read_conversation).says("ends with an answer"));
  CHECK(failure(R"({"messages":[{"role":"user","content":"Q"}]})", read_conversation).says("record 1: it has no answer"));
  CHECK(failure(R"({"instruction":"I"})", read_conversation).says("the field \"output\" is missing"));
  CHECK(failure(R"({"instruction":"I","input":[],"output":"O"})", read_conversation).says("\"input\" is an array"));
  CHECK(failure(R"({"x":1})", read_conversation).says("it has no \"messages\" and no \"prompt\" and no \"instruction\""));
}

TEST_CASE("responses to be scored are one or a list") {
  const ScoringRecord single = read_scoring(one(R"({"prompt":"Q","response":""})"), EmptyPrompts::kRefuse);
  CHECK(single.responses == std::vector<std::string>{""});
  CHECK_FALSE(single.is_list);
  const ScoringRecord list = read_scoring(one(R"({"id":3,"prompt":"Q","responses":["a","b"]})"), EmptyPrompts::kRefuse);
  CHECK(list.responses == std::vector<std::string>{"a", "b"});
  CHECK(list.is_list);
  CHECK(list.id == "3");
  CHECK(show(list.messages) == "u:Q;");
  CHECK(failure(R"({"prompt":"Q"})", read_scoring).says("it has no \"response\" and no \"responses\""));
  CHECK(failure(R"({"prompt":"Q","responses":[]})", read_scoring).says("\"responses\" is empty"));
  CHECK(failure(R"({"prompt":"Q","responses":"a"})", read_scoring).says("\"responses\" is a string, expected a list of strings"));
  CHECK(failure(R"({"prompt":"Q","responses":["a",null]})", read_scoring).says("\"responses\" holds null"));
}
