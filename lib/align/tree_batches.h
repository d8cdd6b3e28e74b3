#pragma once
// Trees in batches, whoever works on them.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "data/batches.h"
#include "data/prompt_trees.h"

namespace seqmill::align {

using Trees = std::shared_ptr<const std::vector<data::PromptTree>>;

/// For those who work on them together.
Trees share(std::vector<data::PromptTree> trees);

/// Tokens of each tree as data::plan_batches() and data::deal() take them. The function keeps the trees alive.
std::function<std::pair<int64_t, int64_t>(int64_t)> lengths_of(const Trees& trees);

/// Each tree once, in batches of about so many tokens, the same each time.
data::BatchPlan plan_in_order(const Trees& trees, int64_t batch_tokens);

/// These trees, on the device.
data::TreeBatch batch_of(const std::vector<data::PromptTree>& trees, const std::vector<int64_t>& items, data::LastTokens last, data::Prompts prompts, at::Device device);

/// Of every token, and of where prompts and endings begin: other data has another one.
uint64_t fingerprint_of(const std::vector<data::PromptTree>& trees);

}  // namespace seqmill::align
