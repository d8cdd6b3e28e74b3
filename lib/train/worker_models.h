#pragma once
// The models that the workers of a training compute with.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "nn/parameters.h"

namespace seqmill::train {

template <typename Model>
class WorkerModels {
 public:
  /// `copy` makes another model of the same shape, its weights unset.
  WorkerModels(Model& model, std::function<std::unique_ptr<Model>()> copy) : model_(model), copy_(std::move(copy)) {}

  /// As Task::workers.
  std::vector<nn::Parameters*> make(int64_t count) {
    std::vector<nn::Parameters*> all{&model_.parameters()};
    while (on_cpu() && static_cast<int64_t>(all.size()) < count) {
      copies_.push_back(copy_());
      copies_.back()->parameters().share(model_.parameters());
      all.push_back(&copies_.back()->parameters());
    }
    return all;
  }

  const Model& of(int64_t worker) const { return worker == 0 ? model_ : *copies_[static_cast<size_t>(worker - 1)]; }

  /// How many parts a batch of so many tokens has, of about `part_tokens` each. On other devices it stays whole: a part of it would not fill them.
  int64_t parts(int64_t batch_tokens, int64_t part_tokens) const {
    const double parts = static_cast<double>(batch_tokens) / static_cast<double>(part_tokens);
    return on_cpu() ? std::max<int64_t>(1, std::llround(parts)) : 1;
  }

 private:
  bool on_cpu() const { return model_.output_layer().weight.device().is_cpu(); }

  Model& model_;
  std::function<std::unique_ptr<Model>()> copy_;
  std::vector<std::unique_ptr<Model>> copies_;  ///< of the second worker, the third, ...
};

}  // namespace seqmill::train
