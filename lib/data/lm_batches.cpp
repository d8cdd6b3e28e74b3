#include "data/lm_batches.h"

#include <algorithm>

#include "base/rng.h"

namespace seqmill::data {
namespace {

/// Without the last token of each sequence, which is predicted only.
PackedTokens pack_inputs(const std::vector<Tokens>& sequences) {
  std::vector<Tokens> inputs;
  for (const Tokens& sequence : sequences) inputs.emplace_back(sequence.begin(), sequence.end() - 1);
  return pack(inputs, -1, -1);
}

at::Tensor to_tensor(const std::vector<int64_t>& values) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

}  // namespace

void LmBatch::to(at::Device device) {
  input.to(device);
  if (rows.defined()) rows = rows.to(device);
  targets = targets.to(device);
}

LmBatch make_lm_batch(const std::vector<Tokens>& sequences) {
  LmBatch batch;
  batch.input = pack_inputs(sequences);
  std::vector<int64_t> targets;
  for (const Tokens& sequence : sequences) targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
  batch.targets = to_tensor(targets);
  return batch;
}

LmBatch make_lm_batch(const std::vector<text::ChatTokens>& conversations) {
  std::vector<Tokens> sequences;
  std::vector<int64_t> rows, targets;
  int64_t row = 0;
  for (const text::ChatTokens& conversation : conversations) {
    sequences.push_back(conversation.tokens);
    for (size_t i = 1; i < conversation.tokens.size(); ++i, ++row) {
      if (!conversation.learned[i]) continue;
      rows.push_back(row);
      targets.push_back(conversation.tokens[i]);
    }
  }
  LmBatch batch;
  batch.input = pack_inputs(sequences);
  batch.rows = to_tensor(rows);
  batch.targets = to_tensor(targets);
  return batch;
}

BatchPlan plan_stream(int64_t tokens, int64_t window, const BatchOrder& order, int64_t epoch) {
  Rng rng(order.seed, "data", static_cast<uint64_t>(epoch));
  // A stream shorter than a window keeps a token to be predicted.
  const int64_t offset = order.shuffle ? static_cast<int64_t>(rng.below(static_cast<uint64_t>(std::min(window, tokens - 1)))) : 0;
  std::vector<int64_t> windows;
  for (int64_t begin = offset; begin < tokens - 1; begin += window) windows.push_back(begin);
  if (order.shuffle) rng.shuffle(windows);
  BatchPlan plan;
  const auto together = static_cast<size_t>(std::max<int64_t>(1, order.batch_tokens / window));
  for (size_t i = 0; i < windows.size(); i += together) {
    plan.emplace_back(windows.begin() + static_cast<std::ptrdiff_t>(i),
                      windows.begin() + static_cast<std::ptrdiff_t>(std::min(windows.size(), i + together)));
  }
  return plan;
}

int64_t window_end(int64_t begin, int64_t window, int64_t tokens) { return std::min(begin + window + 1, tokens); }

}  // namespace seqmill::data
