#pragma once
// Tasks taken apart, batch by batch.

#include <vector>

#include "train/task.h"

namespace seqmill::train {

/// The next micro-batch, its parts as one.
inline StepLoss take(Task& task) {
  StepLoss whole;
  for (const Part& part : task.next()) {
    tensor::DropoutStream dropout(1, 1);
    const StepLoss loss = part(0, dropout);
    whole.sum = whole.sum.defined() ? whole.sum + loss.sum : loss.sum;
    whole.nll_sum += loss.nll_sum;
    whole.tokens += loss.tokens;
    whole.source_tokens += loss.source_tokens;
    whole.measures.resize(loss.measures.size());
    for (size_t i = 0; i < loss.measures.size(); ++i) whole.measures[i] += loss.measures[i];
  }
  return whole;
}

/// What identifies the next `count` batches.
inline std::vector<double> next_losses(Task& task, int count) {
  std::vector<double> losses;
  for (int i = 0; i < count; ++i) losses.push_back(take(task).nll_sum);
  return losses;
}

/// Of the present epoch, which they end.
inline int batches_of_epoch(Task& task) {
  int count = 0;
  for (const int64_t epoch = task.epoch(); task.epoch() == epoch; ++count) take(task);
  return count;
}

}  // namespace seqmill::train
