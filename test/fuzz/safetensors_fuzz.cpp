#include <cstring>

#include "fuzz/fuzz.h"
#include "io/safetensors.h"

using namespace seqmill;

namespace {

// An even first byte: the rest is the file. An odd one: the rest is a header up to the first NUL, whose length is
// put before it, and data, so that the fuzzer need not guess lengths.
std::string file_of(std::string_view input) {
  if (input.empty()) return "";
  const bool has_length = input[0] % 2 == 0;
  input.remove_prefix(1);
  if (has_length) return std::string(input);
  const size_t nul = input.find('\0');
  const std::string_view header = input.substr(0, nul);
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  bytes += header;
  return nul == std::string_view::npos ? bytes : bytes + std::string(input.substr(nul + 1));
}

}  // namespace

// Every byte of every tensor of a file that is accepted can be read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile memory(file_of(fuzz::view(data, size)));
  fuzz::expect_only_errors([&] {
    const io::SafetensorsFile file(memory.path());
    unsigned sum = 0;
    for (const io::TensorRecord& tensor : file.tensors()) {
      fuzz::require(file.find(tensor.name) == &tensor, "a tensor is found by its name");
      const auto* bytes = static_cast<const unsigned char*>(tensor.data);
      for (int64_t i = 0; i < tensor.bytes(); ++i) sum += bytes[i];
    }
    volatile unsigned sink = sum;  // so that the reads stay
    (void)sink;
  });
  return 0;
}
