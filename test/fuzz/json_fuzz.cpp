#include "fuzz/fuzz.h"
#include "io/json.h"

using namespace seqmill;

// What parses must be written to a text that parses to the same value.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_only_errors([&] {
    const io::Json json = io::parse_json(fuzz::view(data, size), "input");
    const std::string text = json.dump();
    fuzz::require(text.find('\n') == std::string::npos, "a dump is one line");
    fuzz::require(io::parse_json(text, "dump").dump() == text, "a dump reads back to the same value");
    fuzz::require(io::parse_json(json.dump_pretty(), "pretty").dump() == text, "so does an indented one");
  });
  return 0;
}
