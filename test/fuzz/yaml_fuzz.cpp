#include <algorithm>

#include "fuzz/fuzz.h"
#include "io/yaml.h"

using namespace seqmill;

namespace {

bool same(std::vector<io::ConfigEntry> a, std::vector<io::ConfigEntry> b) {
  const auto by_key = [](const io::ConfigEntry& x, const io::ConfigEntry& y) { return x.key < y.key; };
  std::sort(a.begin(), a.end(), by_key);
  std::sort(b.begin(), b.end(), by_key);
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const io::ConfigEntry& x, const io::ConfigEntry& y) {
                      return x.key == y.key && x.values == y.values && x.is_list == y.is_list;
                    });
}

}  // namespace

// What parses must be emitted as a text that parses to the same entries.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_only_errors([&] {
    const auto entries = io::parse_yaml(std::string(fuzz::view(data, size)), "input");
    std::vector<io::ConfigEntry> back;
    try {
      back = io::parse_yaml(io::emit_yaml(entries), "emitted");
    } catch (const Error& error) {
      fuzz::require(false, error.what());
    }
    fuzz::require(same(entries, back), "emitted entries read back the same");
  });
  return 0;
}
