// How fast the engine encodes sentences as one batch on one core, the keys and values for the decoder included.
// usage: encoder-rate MODEL TEXT   ->   {"tokens-per-second":N}, the median of several times

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "infer/engine.h"
#include "io/line_reader.h"
#include "text/vocabulary.h"

using namespace seqmill;

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: encoder-rate MODEL TEXT\n");
    return 2;
  }
  const infer::LoadedModel loaded = infer::load_in_engine(infer::ModelSource(argv[1]));
  const text::Vocabulary& vocabulary = *loaded.vocabularies.source;
  std::vector<infer::Tokens> sentences;
  size_t tokens = 0;
  for (const std::string& line : io::read_lines(argv[2])) {
    sentences.push_back(vocabulary.encode(line));
    sentences.back().push_back(vocabulary.eos());
    tokens += sentences.back().size();
  }
  std::vector<double> seconds;
  for (int run = 0; run < 15; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    loaded.model->start(sentences);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  fmt::print("{{\"tokens-per-second\":{:.1f}}}\n", static_cast<double>(tokens) / seconds[seconds.size() / 2]);
}
