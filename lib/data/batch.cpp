#include "data/batch.h"

#include <algorithm>

#include "base/error.h"
#include "data/prompt_trees.h"

namespace seqmill::data {

void PackedTokens::to(at::Device device) {
  tokens = tokens.to(device);
  positions = positions.to(device);
  if (key_rows.defined()) key_rows = key_rows.to(device);
}

void Batch::to(at::Device device) {
  source.to(device);
  target_input.to(device);
  target_output = target_output.to(device);
  if (source_rows.defined()) source_rows = source_rows.to(device);
}

PackedTokens pack(const std::vector<Tokens>& sequences, int32_t first, int32_t last) {
  const int64_t extra = (first >= 0 ? 1 : 0) + (last >= 0 ? 1 : 0);
  std::vector<int64_t> lengths;
  for (const Tokens& sequence : sequences) lengths.push_back(static_cast<int64_t>(sequence.size()) + extra);
  PackedTokens packed;
  packed.spans = tensor::Spans::packed(std::move(lengths));
  const int64_t rows = packed.spans.rows();
  packed.tokens = at::empty({rows}, at::kLong);
  packed.positions = at::empty({rows}, at::kLong);
  auto* token = packed.tokens.data_ptr<int64_t>();
  auto* position = packed.positions.data_ptr<int64_t>();
  for (const Tokens& sequence : sequences) {
    int64_t t = 0;
    const auto put = [&](int32_t id) {
      *token++ = id;
      *position++ = t++;
    };
    if (first >= 0) put(first);
    for (const int32_t id : sequence) put(id);
    if (last >= 0) put(last);
  }
  return packed;
}

Batch make_batch(const std::vector<Tokens>& sources, const std::vector<Tokens>& targets, int32_t source_eos, int32_t bos,
                 int32_t eos) {
  if (sources.size() != targets.size()) fail("a batch of {} sources and {} targets", sources.size(), targets.size());
  Batch batch;
  batch.source = pack(sources, -1, source_eos);
  batch.target_input = pack(targets, bos, -1);
  batch.target_output = pack(targets, -1, eos).tokens;
  return batch;
}

Batch make_batch(const std::vector<const PromptTree*>& trees, int32_t source_eos, int32_t bos) {
  std::vector<Tokens> sources, inputs, outputs;
  std::vector<int64_t> rows, lengths;
  int64_t first = 0;
  for (const PromptTree* tree : trees) {
    if (tree->endings.empty()) fail("a source without targets");
    sources.push_back(tree->prompt);
    const int64_t length = static_cast<int64_t>(tree->prompt.size()) + 1;
    for (const Tokens& ending : tree->endings) {
      if (ending.empty()) fail("a target without tokens");
      inputs.emplace_back(ending.begin(), ending.end() - 1);
      outputs.push_back(ending);
      for (int64_t r = 0; r < length; ++r) rows.push_back(first + r);
      lengths.push_back(length);
    }
    first += length;
  }
  Batch batch;
  batch.source = pack(sources, -1, source_eos);
  batch.target_input = pack(inputs, bos, -1);
  batch.target_output = pack(outputs, -1, -1).tokens;
  if (lengths.size() == trees.size()) return batch;
  batch.source_rows = at::empty({static_cast<int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), batch.source_rows.data_ptr<int64_t>());
  batch.source_spans = tensor::Spans::packed(std::move(lengths));
  return batch;
}

}  // namespace seqmill::data
