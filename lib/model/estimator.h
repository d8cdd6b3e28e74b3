#pragma once
// The head of a learned metric on LibTorch tensors; infer/estimator_head.h says what it computes.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/scorer.h"

namespace seqmill::model {

/// Vectors [M, D] of hypotheses and sources, and of references where defined -> features [M, 4 D] or [M, 6 D].
at::Tensor estimator_features(const at::Tensor& hypotheses, const at::Tensor& sources, const at::Tensor& references);

/// A head of layers of these widths and one of `heads`. Its texts are a source, a hypothesis and, with_reference, a reference.
ScoreHeadMaker estimator_head(int64_t heads, bool with_reference, const std::vector<int64_t>& hidden);

}  // namespace seqmill::model
