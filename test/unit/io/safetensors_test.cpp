#include "io/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes + rest;
}

std::string file_of(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'd'));
}

Failure failure_with(const std::string& bytes) {
  TempDir dir;
  const std::string path = put(dir / "m.safetensors", bytes);
  return failure_of([&] { SafetensorsFile file(path); });
}

Failure failure_of_header(const std::string& header, size_t data_bytes) {
  return failure_with(file_of(header, data_bytes));
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
}

}  // namespace

TEST_CASE("tensors survive a round trip") {
  TempDir dir;
  const float floats[] = {1.5f, -2.0f, 3.25f, 0.0f, 1e-30f, -0.0f};
  const int8_t bytes[] = {1, -2, 3};
  const double one = 2.5;
  const std::string path = dir / "m.safetensors";
  write_safetensors(path,
                    {{"q", DType::kI8, {3}, bytes},
                     {"w", DType::kF32, {2, 3}, floats},
                     {"empty", DType::kF16, {0, 7}, nullptr},
                     {"scalar", DType::kF64, {}, &one}},
                    {{"format", "pt"}, {"é", "\"x\"\n"}});
  const SafetensorsFile file(path);
  REQUIRE(file.tensors().size() == 4);
  const TensorRecord* w = file.find("w");
  REQUIRE(w);
  CHECK(w->dtype == DType::kF32);
  CHECK(w->shape == std::vector<int64_t>{2, 3});
  CHECK(std::memcmp(w->data, floats, sizeof floats) == 0);
  CHECK(reinterpret_cast<uintptr_t>(w->data) % 4 == 0);
  CHECK(std::memcmp(file.find("q")->data, bytes, sizeof bytes) == 0);
  CHECK(std::memcmp(file.find("scalar")->data, &one, sizeof one) == 0);
  CHECK(file.find("empty")->bytes() == 0);
  CHECK(file.find("scalar")->shape.empty());
  CHECK(file.find("none") == nullptr);
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.metadata().at("é") == "\"x\"\n");
  CHECK(file.tensors()[0].name == "scalar");  // the widest first
  const std::string content = get(path);
  CHECK((static_cast<unsigned char>(content[0]) + 256 * static_cast<unsigned char>(content[1]) + 8) % 64 == 0);
}

TEST_CASE("a safetensors file without tensors is valid") {
  TempDir dir;
  write_safetensors(dir / "none", {});
  CHECK(SafetensorsFile(dir / "none").tensors().empty());
  CHECK(failure_of_header("{}", 0).exit_code == 0);
}

TEST_CASE("a file in another order than its header is read in file order") {
  TempDir dir;
  const std::string header =
      "{\"b\":" + entry("U8", "[1]", "[2,3]") + ",\"a\":" + entry("I16", "[1]", "[0,2]") + "}   ";
  SafetensorsFile file(put(dir / "m", file_of(header, 3)));
  CHECK(file.tensors()[0].name == "a");
  SafetensorsFile moved = std::move(file);
  CHECK(moved.find("b")->bytes() == 1);
}

TEST_CASE("all element types have their names and sizes") {
  for (const auto& [name, size] : std::vector<std::pair<std::string, size_t>>{{"F64", 8},
                                                                              {"F32", 4},
                                                                              {"F16", 2},
                                                                              {"BF16", 2},
                                                                              {"I64", 8},
                                                                              {"I32", 4},
                                                                              {"I16", 2},
                                                                              {"I8", 1},
                                                                              {"U8", 1},
                                                                              {"BOOL", 1}}) {
    TempDir dir;
    SafetensorsFile file(
        put(dir / "m", file_of("{\"t\":" + entry(name, "[3]", fmt::format("[0,{}]", 3 * size)) + "}", 3 * size)));
    CHECK(name_of(file.tensors()[0].dtype) == name);
    CHECK(size_of(file.tensors()[0].dtype) == static_cast<int64_t>(size));
  }
}

TEST_CASE("a safetensors file truncated anywhere is an error that names it") {
  TempDir dir;
  const float values[] = {1, 2, 3, 4};
  write_safetensors(dir / "m", {{"w", DType::kF32, {4}, values}}, {{"k", "v"}});
  const std::string whole = get(dir / "m");
  for (size_t size = 0; size < whole.size(); ++size) {
    const Failure failure = failure_with(whole.substr(0, size));
    if (failure.exit_code != kExitFailure || !failure.says("m.safetensors")) FAIL(size << ": " << failure.message);
  }
  CHECK(failure_with(whole + "x").says("the tensors end at byte 16 of the data, but the file holds 17"));
}

TEST_CASE("hostile header lengths are refused before anything is allocated") {
  CHECK(failure_with("").says("has 0 bytes, expected a safetensors file"));
  CHECK(failure_with(with_length(UINT64_MAX, "{}"))
            .says("give a header of 18446744073709551615 bytes, but only 2 follow"));
  CHECK(failure_with(with_length(UINT64_MAX - 7, "{}")).exit_code == kExitFailure);
  CHECK(failure_with(with_length(uint64_t{1} << 63, "{}")).exit_code == kExitFailure);
  CHECK(failure_with(with_length(3, "{}")).says("only 2 follow"));
  CHECK(failure_with(with_length(0, "")).says("expected the JSON header"));
  CHECK(failure_with("PK\x03\x04 something else entirely").exit_code == kExitFailure);
  TempDir dir;
  const std::string path = put(dir / "huge", with_length(100'000'001, "{"));
  std::filesystem::resize_file(path, 200'000'000);  // sparse
  CHECK(failure_of([&] {
          SafetensorsFile file(path);
        }).says("the header has 100000001 bytes, at most 100000000 are accepted"));
}

TEST_CASE("damaged safetensors headers are errors") {
  CHECK(failure_of_header("{\"t\":", 0).says("m.safetensors: header: not valid JSON"));
  CHECK(failure_of_header("[]", 0).says("expected the JSON header"));
  CHECK(failure_of_header("{} x", 0).says("not valid JSON"));
  CHECK(failure_of_header("{\"t\":1}", 0).says("tensor \"t\": is an integer, expected an object"));
  CHECK(failure_of_header("{\"t\":{}}", 0).says("has 0 fields"));
  CHECK(failure_of_header(R"({"t":{"dtype":"U8","shape":[],"offsets":[0,1]}})", 1).says("has no data_offsets"));
  CHECK(
      failure_of_header("{\"a\":" + entry("U8", "[1]", "[0,1]") + ",\"a\":" + entry("U8", "[1]", "[1,2]") + "}", 2)
          .says("the key \"a\" stands twice"));
  CHECK(failure_of_header(R"({"__metadata__":{"a":1}})", 0).says("\"a\" is an integer, expected a string"));
  CHECK(failure_of_header(R"({"__metadata__":[]})", 0).says("expected an object of strings"));
  CHECK(failure_of_header("{\"" + std::string(3000, '[') + "\":" + std::string(3000, '[') + "}", 0)
            .says("nested deeper"));
}

TEST_CASE("wrong element types, shapes and offsets are errors that name the tensor") {
  const auto failure = [](const std::string& dtype, const std::string& shape, const std::string& offsets,
                          size_t data) {
    return failure_of_header("{\"t\":" + entry(dtype, shape, offsets) + "}", data);
  };
  CHECK(failure("F31", "[1]", "[0,4]", 4).says("tensor \"t\": dtype is 'F31', expected F64"));
  CHECK(failure("f32", "[1]", "[0,4]", 4).says("dtype is 'f32'"));
  CHECK(failure("F32", "[-1]", "[0,4]", 4).says("shape holds -1"));
  CHECK(failure("F32", "[1.0]", "[0,4]", 4).says("shape holds a number, expected integers"));
  CHECK(failure("F32", "1", "[0,4]", 4).says("shape is an integer, expected an array"));
  CHECK(failure("F32", "[4294967296,4294967296]", "[0,4]", 4).says("its shape overflows 64 bits"));
  CHECK(failure("F32", "[9223372036854775807,0,2]", "[0,0]", 0).says("its shape overflows 64 bits"));
  CHECK(failure("U8", "[18446744073709551616]", "[0,0]", 0).says("does not fit in 64 bits"));
  CHECK(failure("F32", "[2]", "[0,4]", 4).says("its data take 4 bytes, expected 8"));
  CHECK(failure("F32", "[1]", "[0,5]", 5).says("its data take 5 bytes, expected 4"));
  CHECK(failure("F32", "[1]", "[0,4,4]", 4).says("data_offsets holds 3 numbers"));
  CHECK(failure("F32", "[1]", "[4,0]", 4).says("before their begin at 4"));
  CHECK(failure("F32", "[1]", "[-4,0]", 4).says("data_offsets holds -4"));
  CHECK(failure("F32", "[2]", "[0,8]", 4).says("reach to byte 8, but the file holds 4 bytes of data"));
  CHECK(
      failure("U8", "[9223372036854775807]", "[0,9223372036854775807]", 4).says("the file holds 4 bytes of data"));
}

TEST_CASE("tensors must cover the data without overlap or gap") {
  const auto failure = [](const std::string& first, const std::string& second, size_t data) {
    return failure_of_header("{\"a\":" + entry("U8", "[4]", first) + ",\"b\":" + entry("U8", "[4]", second) + "}",
                             data);
  };
  CHECK(failure("[0,4]", "[4,8]", 8).exit_code == 0);
  CHECK(failure("[0,4]", "[2,6]", 6).says("tensor \"b\": its data begin at byte 2 and overlap the tensor before"));
  CHECK(failure("[0,4]", "[0,4]", 4).says("overlap"));
  CHECK(failure("[0,4]", "[5,9]", 9).says("leave a gap from 4"));
  CHECK(failure("[1,5]", "[5,9]", 9).says("leave a gap from 0"));
  CHECK(failure("[0,4]", "[4,8]", 9).says("the tensors end at byte 8"));
}

TEST_CASE("only regular files are mapped") {
  TempDir dir;
  CHECK(failure_of([&] { SafetensorsFile file(dir.path()); }).says("it is a directory"));
  CHECK(failure_of([&] { SafetensorsFile file(dir / "none"); }).says("No such file"));
  CHECK(failure_of([&] { SafetensorsFile file("/dev/null"); }).says("no regular file"));
}

TEST_CASE("writing tensors is checked") {
  const float value = 1;
  const TensorRecord tensor{"t", DType::kF32, {1}, &value};
  CHECK(failure_of([&] { write_safetensors("/dev/full", {tensor}); }).says("No space left on device"));
  TempDir dir;
  CHECK(failure_of([&] { write_safetensors(dir / "m", {tensor, tensor}); }).says("two tensors are named \"t\""));
  CHECK(failure_of([&] {
          write_safetensors(dir / "m", {{"__metadata__", DType::kF32, {1}, &value}});
        }).exit_code == kExitFailure);
  CHECK(failure_of([&] {
          write_safetensors(dir / "m", {{"t", DType::kF32, {-1}, &value}});
        }).says("negative or overflows"));
  CHECK(failure_of([&] { write_safetensors(dir / "no/m", {tensor}); }).says("No such file"));
}
