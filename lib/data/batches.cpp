#include "data/batches.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace seqmill::data {
namespace {

using Lengths = std::function<std::pair<int64_t, int64_t>(int64_t)>;

/// Cuts [begin, end) of `order` into batches of at most `batch_tokens` tokens on the longer side.
void cut(const std::vector<int64_t>& order, size_t begin, size_t end, const Lengths& lengths, int64_t batch_tokens,
         BatchPlan& plan) {
  std::vector<int64_t> batch;
  int64_t source = 0, target = 0;
  for (size_t i = begin; i < end; ++i) {
    const auto [source_length, target_length] = lengths(order[i]);
    if (!batch.empty() && std::max(source + source_length + 1, target + target_length + 1) > batch_tokens) {
      plan.push_back(std::move(batch));
      batch.clear();
      source = target = 0;
    }
    source += source_length + 1;
    target += target_length + 1;
    batch.push_back(order[i]);
  }
  if (!batch.empty()) plan.push_back(std::move(batch));
}

}  // namespace

BatchPlan plan_batches(int64_t pairs, const Lengths& lengths, const BatchOrder& options, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(pairs));
  std::iota(order.begin(), order.end(), int64_t{0});
  Rng rng(options.seed, "data", static_cast<uint64_t>(epoch));
  if (options.shuffle) rng.shuffle(order);
  BatchPlan plan;
  int64_t window_tokens = 0;
  if (__builtin_mul_overflow(options.batch_tokens, std::max<int64_t>(1, options.bucket_batches), &window_tokens)) {
    window_tokens = std::numeric_limits<int64_t>::max();
  }
  size_t begin = 0;
  while (begin < order.size()) {
    size_t end = begin;
    int64_t tokens = 0;
    while (end < order.size() && (end == begin || tokens < window_tokens)) {
      const auto [source, target] = lengths(order[end++]);
      tokens += std::max(source, target) + 1;
    }
    std::stable_sort(order.begin() + static_cast<std::ptrdiff_t>(begin), order.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](int64_t a, int64_t b) {
                       const auto [source_a, target_a] = lengths(a);
                       const auto [source_b, target_b] = lengths(b);
                       return target_a != target_b ? target_a < target_b : source_a < source_b;
                     });
    cut(order, begin, end, lengths, options.batch_tokens, plan);
    begin = end;
  }
  if (options.shuffle) rng.shuffle(plan);
  return plan;
}

BatchPlan deal(const std::vector<int64_t>& pairs, const Lengths& lengths, int64_t parts) {
  const size_t count = std::min(static_cast<size_t>(std::max<int64_t>(1, parts)), pairs.size());
  std::vector<int64_t> sizes;
  for (const int64_t pair : pairs) {
    const auto [source, target] = lengths(pair);
    sizes.push_back(source + target + 2);
  }
  // The longest first, each to the part that has the least so far.
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int64_t> tokens(count);
  std::vector<size_t> part_of(pairs.size());
  for (const size_t place : order) {
    const auto least = static_cast<size_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
    tokens[least] += sizes[place];
    part_of[place] = least;
  }
  BatchPlan dealt(count);
  for (size_t place = 0; place < pairs.size(); ++place) dealt[part_of[place]].push_back(pairs[place]);
  return dealt;
}

}  // namespace seqmill::data
