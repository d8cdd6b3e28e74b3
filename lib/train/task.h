#pragma once
// What the training loop needs of the thing that is trained.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "nn/parameters.h"
#include "tensor/dropout.h"
#include "train/ranks.h"

namespace seqmill::train {

/// The loss of one micro-batch, or of a part of it.
struct StepLoss {
  at::Tensor sum;             ///< scalar with graph, summed over tokens
  double nll_sum = 0;         ///< cross-entropy without smoothing, in nats
  int64_t tokens = 0;         ///< what the loss is averaged over
  int64_t source_tokens = 0;  ///< for the log only
  std::vector<double> measures = {};  ///< sums over the same tokens, of what Task::measures() names
};

/// A part of a micro-batch: computes its loss in training mode. Several workers may each be at one.
using Part = std::function<StepLoss(int64_t worker, tensor::DropoutStream& dropout)>;

/// Results of a validation, in the order to show them; the first is "loss". "bleu" and the like are better when larger.
using Scores = std::vector<std::pair<std::string, double>>;

class Task {
 public:
  virtual ~Task() = default;
  virtual nn::Parameters& parameters() = 0;
  /// What StepLoss::tokens counts: "tokens", or else "pairs" and the like, for which perplexity means nothing.
  virtual std::string unit() const { return "tokens"; }
  /// Names of what a loss brings along, to be shown with it, averaged.
  virtual std::vector<std::string> measures() const { return {}; }
  /// How many parts a full micro-batch has.
  virtual int64_t parts() const { return 1; }
  /// What the losses of each worker depend on: parameters() for the first, and for each other a copy that shares the values (Parameters::share) and
  /// has gradients of its own. As many as asked for (all float32 on the CPU), or only the first. Called once, after parameters() were flattened.
  virtual std::vector<nn::Parameters*> workers([[maybe_unused]] int64_t count) { return {&parameters()}; }
  /// Takes the next micro-batch, in parts. They do not depend on the number of workers, and so the training does not but for rounding.
  virtual std::vector<Part> next() = 0;
  /// Leaves out this many micro-batches: other ranks take them.
  virtual void skip(int64_t batches) = 0;
  /// Micro-batches of the present epoch, those of all ranks.
  virtual int64_t epoch_batches() const = 0;
  /// Complete passes over the data so far, and how far the present one is (0..1).
  virtual int64_t epoch() const = 0;
  virtual double epoch_progress() const = 0;
  /// Each rank takes a share; all get the same scores.
  virtual Scores validate(Ranks& ranks) = 0;
  /// The position in the data, for a checkpoint.
  virtual io::Json cursor() const = 0;
  virtual void set_cursor(const io::Json& cursor) = 0;
};

}  // namespace seqmill::train
