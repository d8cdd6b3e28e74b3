#pragma once
// Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019) as one fused pass over all parameters.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "nn/parameters.h"
#include "tensor/weights.h"

namespace seqmill::train {

struct OptimizerOptions {
  std::string kind = "adam";  ///< "adam" (weight decay as L2) or "adamw" (decoupled)
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-9;
  double weight_decay = 0;    ///< of matrices; biases, norms and embeddings are left alone

  void declare(Options& options);
};

class Optimizer {
 public:
  /// `parameters` must be flattened and outlive this.
  Optimizer(nn::Parameters& parameters, const OptimizerOptions& options);

  /// One step with gradient * gradient_scale.
  void step(double gradient_scale, double learning_rate);
  /// Number of steps taken; steers the bias corrections.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  /// The moments, to save and to restore into: "<parameter>.m" and "<parameter>.v".
  std::vector<tensor::NamedTensor> state() const;
  /// The same as whole vectors.
  std::vector<at::Tensor> flat_state() const { return {m_, v_}; }

 private:
  /// Neighbours in the flat vectors that are treated alike.
  struct Range {
    int64_t begin = 0, end = 0;
    bool decays = false;
  };

  void step_fast(const Range& range, double gradient_scale, double learning_rate);
  void step_general(const Range& range, double gradient_scale, double learning_rate);
  double correction1() const;
  double correction2() const;

  nn::Parameters& parameters_;
  OptimizerOptions options_;
  std::vector<Range> ranges_;
  at::Tensor m_, v_;
  int64_t steps_ = 0;
};

/// The Euclidean norm of a vector; NaN or infinite when any of its numbers is. The same for every number of threads.
double euclidean_norm(const at::Tensor& flat);

}  // namespace seqmill::train
