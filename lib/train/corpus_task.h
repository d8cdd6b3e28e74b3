#pragma once
// A task whose batches come from a corpus: what such tasks do alike.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tensor/attention.h"
#include "train/batch_walk.h"
#include "train/task.h"
#include "train/worker_models.h"

namespace seqmill::train {

/// `Batch`: a part of a micro-batch as `Model` takes it, with target_tokens().
template <typename Model, typename Batch>
class CorpusTask : public Task {
 public:
  /// `copy` makes another model of the same shape, its weights unset.
  CorpusTask(Model& model, std::function<std::unique_ptr<Model>()> copy) : model_(model), workers_(model, std::move(copy)) {}

  nn::Parameters& parameters() override { return model_.parameters(); }
  int64_t parts() const override { return parts_; }
  std::vector<nn::Parameters*> workers(int64_t count) override { return workers_.make(count); }

  std::vector<Part> next() override {
    std::vector<Batch> batches = walk_->take();
    prepare(batches);
    std::vector<Part> parts;
    for (Batch& batch : batches) {
      parts.push_back([this, batch = std::move(batch)](int64_t worker, tensor::DropoutStream& dropout) { return loss(workers_.of(worker), batch, dropout); });
    }
    skip(1);
    return parts;
  }

  void skip(int64_t batches) override { walk_->skip(batches); }
  int64_t epoch() const override { return walk_->epoch(); }
  int64_t epoch_batches() const override { return walk_->epoch_batches(); }
  double epoch_progress() const override { return walk_->progress(); }
  io::Json cursor() const override { return walk_->cursor(); }
  void set_cursor(const io::Json& json) override { walk_->set_cursor(json); }

 protected:
  /// How many parts a batch of so many tokens has, of about `part_tokens` each and at most `most`. To be called before begin_walk().
  void split_batches(int64_t batch_tokens, int64_t part_tokens, int64_t most) { parts_ = std::min(workers_.parts(batch_tokens, part_tokens), most); }

  /// To be called when the corpus is there. The walk works on after the members of a derived class are gone: its functions own what they use.
  void begin_walk(typename BatchWalk<Batch>::Data data, int64_t stride) { walk_.emplace(std::move(data), stride); }

  /// What the parts of a micro-batch have in common can be computed here, in evaluation, with the weights that the parts will be worked on with.
  virtual void prepare(std::vector<Batch>&) const {}

  /// Of one part in training.
  virtual StepLoss loss(const Model& model, const Batch& batch, tensor::DropoutStream& dropout) const = 0;

  struct Validation {
    double nll = 0, tokens = 0;  ///< over all ranks
    double loss() const { return nll / tokens; }
    /// What tells whether polynomial attention still learns; nothing for other models.
    Scores attention() const {
      if (scores == 0) return {};
      return {{"cut-scores", cut / scores}, {"blind-queries", blind / queries}};
    }

    double scores = 0, cut = 0, queries = 0, blind = 0;  ///< tensor::CutScores over all ranks
  };

  /// Every rank takes its share of these batches; all get the same sums. `make` makes a batch of items, `loss_of` gives its negative log-likelihood.
  template <typename Make, typename LossOf>
  Validation validate_on(const data::BatchPlan& plan, Ranks& ranks, Make make, LossOf loss_of) const {
    at::NoGradGuard no_grad;
    Validation mine;
    const tensor::CutScoreWatch watch;
    int64_t number = 0;
    for (const std::vector<int64_t>& items : plan) {
      if (number++ % ranks.count() != ranks.rank()) continue;
      const Batch batch = make(items);
      mine.nll += loss_of(batch);
      mine.tokens += static_cast<double>(batch.target_tokens());
    }
    const tensor::CutScores cut = watch.counts();
    const auto number_of = [](int64_t count) { return static_cast<double>(count); };
    const std::vector<double> sums = ranks.sum({mine.nll, mine.tokens, number_of(cut.scores), number_of(cut.cut), number_of(cut.queries), number_of(cut.blind)});
    return {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]};
  }

  Model& model_;

 private:
  WorkerModels<Model> workers_;
  int64_t parts_ = 1;
  std::optional<BatchWalk<Batch>> walk_;
};

}  // namespace seqmill::train
