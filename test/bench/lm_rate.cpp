// How fast the engine loads a language model and decodes with it, without a tokeniser.
// usage: lm-rate MODEL fp32|bf16 THREADS ROWS PROMPT STEPS
//   -> {"load-seconds":S,"load-GB/s":R,"peak-MB":M,"prompt-tokens-per-second":P,"tokens-per-second":T,"score-tokens-per-second":C}

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/threads.h"
#include "infer/lm_engine.h"

using namespace seqmill;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    fmt::print(stderr, "usage: lm-rate MODEL fp32|bf16 THREADS ROWS PROMPT STEPS\n");
    return 2;
  }
  const int used = std::atoi(argv[3]);
  const int64_t rows = std::atoll(argv[4]), prompt = std::atoll(argv[5]), steps = std::atoll(argv[6]);
  try {
    set_threads(used);
    auto begin = Clock::now();
    const infer::ModelSource source(argv[1]);
    const auto engine = infer::configure<infer::LmEngineType>(source);
    const auto model = infer::build_from(source, infer::weights_of(source, 0, std::string(argv[2]) == "bf16"),
                                         [&](infer::Weights& weights) { return engine->build(0, weights); });
    const double load = seconds_since(begin);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);

    const auto decoder = model->start(used);
    infer::Tokens tokens;
    for (int64_t i = 0; i < prompt; ++i) tokens.push_back(static_cast<int32_t>(i * 7919 % model->vocabulary_size()));
    std::vector<float> logprobs(static_cast<size_t>(model->vocabulary_size()));
    decoder->end(decoder->begin(infer::Tokens(tokens.begin(), tokens.begin() + std::min<int64_t>(prompt, 64)), logprobs.data()));  // memory is there from now on
    begin = Clock::now();
    std::vector<infer::SequenceDecoder::Handle> handles{decoder->begin(tokens, logprobs.data())};
    const double first = seconds_since(begin);
    while (static_cast<int64_t>(handles.size()) < rows) handles.push_back(decoder->branch(handles[0]));
    std::vector<int32_t> next(static_cast<size_t>(rows));
    std::vector<double> times;
    for (int64_t step = 0; step < steps; ++step) {
      for (size_t r = 0; r < next.size(); ++r) next[r] = static_cast<int32_t>((step * 31 + static_cast<int64_t>(r) * 17) % model->vocabulary_size());
      begin = Clock::now();
      decoder->advance(handles, next);
      times.push_back(seconds_since(begin));
    }
    std::sort(times.begin(), times.end());
    begin = Clock::now();
    model->score({tokens, tokens}, used);
    const double score = seconds_since(begin);
    const auto bytes = static_cast<double>(std::filesystem::file_size(source.files.weights));
    fmt::print("{{\"load-seconds\":{:.2f},\"load-GB/s\":{:.2f},\"peak-MB\":{:.0f},\"prompt-tokens-per-second\":{:.1f},\"tokens-per-second\":{:.2f},"
               "\"score-tokens-per-second\":{:.1f}}}\n",
               load, bytes * 1e-9 / load, static_cast<double>(usage.ru_maxrss) * 1.024e-3, static_cast<double>(prompt) / first,
               static_cast<double>(rows) / times[times.size() / 2], 2.0 * static_cast<double>(prompt - 1) / score);
  } catch (const Error& error) {
    fmt::print(stderr, "lm-rate: {}\n", error.what());
    return 1;
  }
}
