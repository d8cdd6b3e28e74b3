#include "io/json.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;

namespace {

Json parse(std::string_view text) { return parse_json(text, "file:1"); }
Failure failure_with(std::string_view text) {
  return failure_of([&] { parse(text); });
}

}  // namespace

TEST_CASE("JSON survives a round trip with order, types and unknown fields") {
  const std::string text =
      R"({"z":1,"a":[1,1.0,-2,0.1,1e+300,true,false,null,"x"],"m":{"":{}, "é":[]},"n":9223372036854775807})";
  const std::string expected =
      R"({"z":1,"a":[1,1.0,-2,0.1,1e+300,true,false,null,"x"],"m":{"":{},"é":[]},"n":9223372036854775807})";
  CHECK(parse(text).dump() == expected);
  CHECK(parse(parse(text).dump_pretty()).dump() == expected);
  CHECK(parse("-9223372036854775808").as_int() == std::numeric_limits<int64_t>::min());
}

TEST_CASE("JSON strings are escaped and unescaped") {
  const Json text = parse(R"("\"\\\/\b\f\n\r\t\u0001\u00e9\ud83d\ude00")");
  CHECK(text.as_string() == "\"\\/\b\f\n\r\t\x01é😀");
  CHECK(text.dump() == R"("\"\\/\b\f\n\r\t\u0001é😀")");
  CHECK(Json(std::string("a\0b", 3)).dump() == R"("a\u0000b")");
  CHECK(parse(Json(std::string("a\0b", 3)).dump()).as_string() == std::string("a\0b", 3));
  CHECK(Json("\xFFx\xC3").dump() == "\"\uFFFDx\uFFFD\"");
}

TEST_CASE("JSON numbers keep their digits") {
  for (const double value : {0.1, 1.0 / 3.0, 5e-324, 1.7976931348623157e308, -0.0, 123456789.0, 1e22}) {
    const Json back = parse(Json(value).dump());
    CHECK_FALSE(back.is_int());
    CHECK(back.as_double() == value);
  }
  CHECK(Json(std::nan("")).dump() == "null");
  CHECK(Json(HUGE_VAL).dump() == "null");
}

TEST_CASE("JSON integers past 64 bits are no silent doubles") {
  const Json rounded = parse_json("[1000000000000000019884624838656,-9223372036854775809,18446744073709551615,7]", "test", LargeIntegers::kRound);
  CHECK(rounded.as_array()[0].as_double() == 1e30);
  CHECK(rounded.as_array()[1].as_double() == -9223372036854775808.0);
  CHECK(rounded.as_array()[2].as_double() == 18446744073709551616.0);
  CHECK(rounded.as_array()[3].as_int() == 7);
  CHECK(failure_with("9223372036854775808").says("does not fit in 64 bits"));
  CHECK(failure_with("[18446744073709551616]").says("does not fit in 64 bits"));
  CHECK(failure_with("1" + std::string(400, '0')).exit_code == kExitFailure);
  CHECK(failure_with("1e999").exit_code == kExitFailure);
}

TEST_CASE("JSON that is malformed is an error with place and byte") {
  CHECK(failure_with("{\"a\":tru}").says("file:1: not valid JSON at byte 9"));
  CHECK(failure_with("").says("file:1: not valid JSON"));
  for (const char* text :
       {"{",       "[1,]",        "{\"a\":1,}", "{a:1}",  "'a'",       "01",      "+1",  "1.",
        ".5",      "NaN",         "Infinity",   "\"\t\"", "[1 2]",     "{} {}",   "{}x", "// c\n1",
        "\"\\x\"", "\"\\ud800\"", "\"",         "nul",    "[\"a\":1]", "{\"a\"}", "]"}) {
    CAPTURE(text);
    CHECK(failure_with(text).exit_code == kExitFailure);
  }
  CHECK(failure_with(std::string_view("{}\0{}", 5)).says("NUL"));
  CHECK(failure_with("{\"a\":\"\xFF\"}").says("byte 7 (0xFF) is not valid UTF-8"));
  const Failure lengthy = failure_with("[\"" + std::string(100000, 'x'));
  CHECK(lengthy.message.size() < 400);
}

TEST_CASE("JSON objects have each key once") {
  CHECK(failure_with(R"({"a":1,"b":2,"a":3})").says("file:1: the key \"a\" stands twice"));
  CHECK(failure_with(R"({"x":{"a":1,"a":3}})").says("stands twice"));
  CHECK(parse(R"({"a":{"a":1},"b":{"a":1}})").as_object().size() == 2);
  std::string many = "{";
  for (int i = 0; i < 5000; ++i) many += fmt::format("\"k{}\":{},", i, i);
  CHECK(parse(many + "\"end\":0}").as_object().size() == 5001);
  CHECK(failure_with(many + "\"k17\":0}").says("\"k17\" stands twice"));
}

TEST_CASE("JSON nests 256 levels deep and no deeper") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse(nested(256)).dump() == nested(256));
  CHECK(failure_with(nested(257)).says("nested deeper than 256 levels"));
  CHECK(failure_with(std::string(5'000'000, '[')).says("nested deeper"));
  std::string objects;
  for (int i = 0; i < 300; ++i) objects += "{\"a\":";
  CHECK(failure_with(objects).says("nested deeper"));
}

TEST_CASE("JSON values are read by type, and a wrong one is named") {
  const Json json = parse(R"({"i":3,"d":2.5,"s":"x","b":true,"n":null,"l":[1],"o":{}})");
  CHECK(json.at("i").as_int() == 3);
  CHECK(json.at("i").as_double() == 3.0);
  CHECK(json.at("d").as_double() == 2.5);
  CHECK(json.at("b").as_bool());
  CHECK(json.at("n").is_null());
  CHECK(json.find("none") == nullptr);
  CHECK(failure_of([&] { json.at("none"); }).says("the field \"none\" is missing"));
  CHECK(failure_of([&] { json.at("s").as_int(); }).message == "expected an integer, found a string");
  CHECK(failure_of([&] { json.at("d").as_int(); }).message == "expected an integer, found a number");
  CHECK(failure_of([&] { json.at("l").as_object(); }).message == "expected an object, found an array");
  CHECK(failure_of([&] { json.at("o").as_array(); }).message == "expected an array, found an object");
  CHECK(failure_of([&] { json.at("n").as_string(); }).message == "expected a string, found null");
  CHECK(failure_of([&] { json.at("i").as_bool(); }).message == "expected true or false, found an integer");
  CHECK(failure_of([&] { json.at("b").as_double(); }).message == "expected a number, found true or false");
  CHECK(failure_of([&] { json.at("s").find("x"); }).message == "expected an object, found a string");
}

TEST_CASE("JSON members are appended or replaced") {
  Json json;
  json.set("b", 1);
  json.set("a", Json::list(std::vector<int64_t>{1, 2}));
  json.set("b", 2.0);
  CHECK(json.dump() == R"({"b":2.0,"a":[1,2]})");
  Json list;
  list.push_back(nullptr);
  list.push_back(Json::object());
  CHECK(list.dump() == "[null,{}]");
  CHECK(list.dump_pretty() == "[\n  null,\n  {}\n]");
  CHECK(failure_of([&] { list.set("a", 1); }).says("expected an object"));
}

TEST_CASE("a JSON file is read whole") {
  TempDir dir;
  CHECK(read_json(put(dir / "state.json", "{\"update\": 7}\n")).at("update").as_int() == 7);
  CHECK(failure_of([&] { read_json(put(dir / "bad.json", "{")); }).says(dir / "bad.json"));
  CHECK(failure_of([&] { read_json(dir / "none"); }).says("No such file"));
}
