#pragma once
// States of texts out of those of their tokens.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "data/prompt_trees.h"
#include "infer/language_model.h"

namespace seqmill::model {

/// States [N, D] of all rows of a batch that was made with LastTokens::kRead -> of each ending one [endings, D]. Differentiable.
at::Tensor pooled(const at::Tensor& states, const data::TreeBatch& batch, infer::Pooling pooling);
/// States [sum of lengths, D] of texts, one behind another -> of each text one [texts, D].
at::Tensor pooled(const at::Tensor& states, const std::vector<int64_t>& lengths, infer::Pooling pooling);

}  // namespace seqmill::model
