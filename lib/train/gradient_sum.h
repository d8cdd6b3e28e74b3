#pragma once
// Summing gradients over the workers of a process and over the ranks, while the backward pass still runs.

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "nn/parameters.h"
#include "train/ranks.h"

namespace torch::autograd {
struct Node;
}

namespace seqmill::train {

/// Cuts the flat gradient vector into buckets from its end, where the backward pass begins, and starts to sum a bucket over the ranks as soon as all
/// workers have all of its gradients. The order of the sums is fixed, so that every rank begins them alike. Alone, without other ranks, the workers'
/// gradients are summed at the end, by all threads. The sum is left in the gradients of the first worker, those of the others are zero again.
class GradientSum {
 public:
  /// The parameters of the workers must be flattened and share their values; several workers are float32 on the CPU. `bucket_numbers`: about how many numbers make a bucket.
  GradientSum(std::vector<nn::Parameters*> workers, Ranks& ranks, int64_t bucket_numbers = int64_t{1} << 21);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// Called by a worker before its last backward pass of an update: its gradients are the ones to wait for.
  void expect(int64_t worker);
  /// After the work of all workers: starts what has not been started, and waits for all sums. Every rank must call it once an update, with or
  /// without a backward pass.
  void finish();

 private:
  struct Bucket {
    int64_t begin = 0, end = 0;  ///< of the flat vector
    int64_t parameters = 0, missing = 0;  ///< over all workers
    bool complete = false;                ///< the first worker has the sum over all of them
  };
  class Hook;

  void ready(size_t worker, size_t bucket);
  /// Begins, in order, the sums over the ranks of buckets that are complete.
  void start_complete();
  /// Adds the others' gradients from `begin` to `end` to the first worker's and leaves zeros.
  void move_to_first(int64_t begin, int64_t end);

  std::vector<nn::Parameters*> workers_;
  Ranks& ranks_;
  std::vector<Bucket> buckets_;
  std::vector<std::pair<std::shared_ptr<torch::autograd::Node>, uintptr_t>> hooks_;  ///< what gathers a gradient, and our hook there
  std::vector<char> expects_;  ///< by worker
  std::mutex mutex_;           ///< of the buckets' counts, and of starting sums
  size_t started_ = 0;
};

}  // namespace seqmill::train
