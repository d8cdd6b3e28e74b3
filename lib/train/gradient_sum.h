#pragma once
// Summing gradients over the ranks while the backward pass still runs.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "nn/parameters.h"
#include "train/ranks.h"

namespace torch::autograd {
struct Node;
}

namespace seqmill::train {

/// Cuts the flat gradient vector into buckets from its end, where the backward pass begins, and starts to sum a bucket as soon as all of its
/// gradients are there. The order of the sums is fixed, so that every rank begins them alike.
class GradientSum {
 public:
  /// The parameters must be flattened. `bucket_numbers`: about how many numbers make a bucket.
  GradientSum(nn::Parameters& parameters, Ranks& ranks, int64_t bucket_numbers = int64_t{1} << 21);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// Before the last backward pass of an update: its gradients are the ones to wait for.
  void expect();
  /// Starts what has not been started, and waits for all sums. Every rank must call it once an update, with or without a backward pass.
  void finish();

 private:
  struct Bucket {
    int64_t begin = 0, end = 0;  ///< of the flat vector
    int64_t parameters = 0, missing = 0;
  };
  class Hook;

  void ready(size_t bucket);
  void start_ready();

  nn::Parameters& parameters_;
  Ranks& ranks_;
  std::vector<Bucket> buckets_;
  std::vector<std::pair<std::shared_ptr<torch::autograd::Node>, uintptr_t>> hooks_;  ///< what gathers a gradient, and our hook there
  size_t started_ = 0;
  bool expects_ = false;
};

}  // namespace seqmill::train
