// The rate at which this machine reads memory: the limit of decoding one sequence, whose every step reads all weights.
// usage: memory-rate [MEGABYTES]   ->   {"1":GB/s,"2":GB/s} by threads, the best of several times

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"

using namespace seqmill;

namespace {

using Numbers = uint64_t __attribute__((vector_size(16)));
constexpr int kLine = 64 / sizeof(Numbers);

/// Of whole lines, with a sum for each part of a line, so that no sum waits for another.
uint64_t sum(const Numbers* from, const Numbers* end) {
  Numbers sums[kLine] = {};
  for (; from < end; from += kLine) {
    for (int i = 0; i < kLine; ++i) sums[i] += from[i];
  }
  const Numbers all = sums[0] + sums[1] + sums[2] + sums[3];
  return all[0] + all[1];
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t megabytes = argc > 1 ? std::atoll(argv[1]) : 2048;
  if (argc > 2 || megabytes < 1) {
    fmt::print(stderr, "usage: memory-rate [MEGABYTES]\n");
    return 2;
  }
  const int64_t count = megabytes * 1'000'000 / 64;
  Buffer<uint64_t> buffer(count * 8);
  std::fill_n(buffer.data(), count * 8, uint64_t{1});
  const auto* numbers = reinterpret_cast<const Numbers*>(buffer.data());
  std::string rates;
  for (const int used : {1, available_threads()}) {
    set_threads(used);
    double best = 0;
    for (int run = 0; run < 40; ++run) {
      std::vector<uint64_t> sums(static_cast<size_t>(used));
      const auto begin = std::chrono::steady_clock::now();
      parallel_for(count, 1, [&](int64_t first, int64_t end) { sums[static_cast<size_t>(first * used / count)] = sum(numbers + first * kLine, numbers + end * kLine); });
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      const auto total = static_cast<int64_t>(std::accumulate(sums.begin(), sums.end(), uint64_t{0}));
      if (total > count * 8) return 1;  // never: what is summed must be used
      best = std::max(best, static_cast<double>(count) * 64e-9 / seconds);
    }
    rates += fmt::format("{}\"{}\":{:.2f}", rates.empty() ? "" : ",", used, best);
    if (available_threads() == 1) break;
  }
  fmt::print("{{{}}}\n", rates);
}
