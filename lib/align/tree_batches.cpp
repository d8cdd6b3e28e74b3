#include "align/tree_batches.h"

#include "data/token_file.h"

namespace seqmill::align {

Trees share(std::vector<data::PromptTree> trees) { return std::make_shared<const std::vector<data::PromptTree>>(std::move(trees)); }

std::function<std::pair<int64_t, int64_t>(int64_t)> lengths_of(const Trees& trees) {
  // plan_batches() adds an end symbol.
  return [trees](int64_t i) { return std::pair<int64_t, int64_t>(0, (*trees)[static_cast<size_t>(i)].tokens() - 1); };
}

data::BatchPlan plan_in_order(const Trees& trees, int64_t batch_tokens) {
  data::BatchOrder order;
  order.batch_tokens = batch_tokens;
  order.shuffle = false;
  return data::plan_batches(static_cast<int64_t>(trees->size()), lengths_of(trees), order, 0);
}

data::TreeBatch batch_of(const std::vector<data::PromptTree>& trees, const std::vector<int64_t>& items, data::LastTokens last, data::Prompts prompts, at::Device device) {
  std::vector<const data::PromptTree*> chosen;
  for (const int64_t item : items) chosen.push_back(&trees[static_cast<size_t>(item)]);
  data::TreeBatch batch = data::make_tree_batch(chosen, last, prompts);
  batch.to(device);
  return batch;
}

uint64_t fingerprint_of(const std::vector<data::PromptTree>& trees) {
  data::Fingerprint fingerprint;
  const auto add = [&](const data::Tokens& tokens) {
    fingerprint.add(static_cast<uint64_t>(tokens.size()));
    for (const int32_t token : tokens) fingerprint.add(static_cast<uint64_t>(token));
  };
  fingerprint.add(static_cast<uint64_t>(trees.size()));
  for (const data::PromptTree& tree : trees) {
    add(tree.prompt);
    fingerprint.add(static_cast<uint64_t>(tree.endings.size()));
    for (const data::Tokens& ending : tree.endings) add(ending);
  }
  return fingerprint.value();
}

}  // namespace seqmill::align
