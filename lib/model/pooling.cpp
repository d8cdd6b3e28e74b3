#include "model/pooling.h"

#include <ATen/ATen.h>

namespace seqmill::model {

at::Tensor pooled(const at::Tensor& states, const data::TreeBatch& batch, infer::Pooling pooling) {
  if (pooling == infer::Pooling::kLast) return states.index_select(0, batch.last);
  return pooled(states.index_select(0, batch.read), batch.lengths, pooling);
}

at::Tensor pooled(const at::Tensor& states, const std::vector<int64_t>& lengths, infer::Pooling pooling) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& text : states.split_with_sizes(lengths, 0)) all.push_back(pooling == infer::Pooling::kMean ? text.mean(0) : text.select(0, text.size(0) - 1));
  return at::stack(all);
}

}  // namespace seqmill::model
