#include "fuzz/fuzz.h"
#include "text/parallel_reader.h"

using namespace seqmill;

namespace {

int64_t count_pairs(const std::string& source, const std::string& target, io::LineLimits limits) {
  text::ParallelReader reader(source, target, limits);
  std::string a, b;
  while (reader.next(a, b)) {
    fuzz::require(a.find('\n') == std::string::npos && b.find('\n') == std::string::npos, "a pair is two lines");
    fuzz::require(!target.empty() || (a + b).find('\t') == std::string::npos, "a TAB ends a column");
  }
  return reader.line_number();
}

}  // namespace

// Source and target stand on the two sides of the first byte 0xFE; without it the input is TSV.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::view(data, size);
  const size_t cut = input.find('\xFE');
  io::LineLimits limits;
  limits.max_bytes = 300;
  fuzz::expect_only_errors([&] {
    const fuzz::MemoryFile source(input.substr(0, cut));
    if (cut == std::string_view::npos) {
      count_pairs(source.path(), "", limits);
      return;
    }
    const fuzz::MemoryFile target(input.substr(cut + 1));
    const int64_t pairs = count_pairs(source.path(), target.path(), limits);
    fuzz::require(count_pairs(target.path(), source.path(), limits) == pairs, "sides can be swapped");
  });
  return 0;
}
