#include "fuzz/fuzz.h"
#include "text/vocabulary.h"

using namespace seqmill;

// A model that is accepted encodes and decodes whatever it is given.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile memory(fuzz::view(data, size));
  fuzz::expect_only_errors([&] {
    const text::Vocabulary vocabulary(memory.path());
    for (const std::string text :
         {"", " ", "a b  ab", "Ein \u00C4ra \uFB01ve \u2026 \uFF21 \u6F22\U0001F600", "\xFF\xC3(\x80"}) {
      const std::vector<int32_t> ids = vocabulary.encode(text);
      for (const int32_t id : ids) fuzz::require(id >= 0 && id < vocabulary.size(), "ids lie in the vocabulary");
      fuzz::require(vocabulary.decode(ids).find('\n') == std::string::npos, "a decoded text is one line");
    }
    std::vector<int32_t> all;
    for (int32_t id = 0; id < vocabulary.size(); ++id) all.push_back(id);
    vocabulary.decode(all);
  });
  return 0;
}
