#pragma once
// A training task over prompts with answers that are compared with each other: batches, parts, validation. What is learned from them is a derived class.

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "align/tree_batches.h"
#include "data/batches.h"
#include "data/prompt_trees.h"
#include "train/corpus_task.h"

namespace seqmill::align {

struct TreeTaskOptions {
  int64_t batch_tokens = 4096;   ///< of prompts and answers, those of a tree counted once
  int64_t part_tokens = 2048;    ///< a batch is worked on in parts of about this many of those tokens
  int64_t bucket_batches = 64;   ///< trees are sorted by length within windows of this many batches
  bool share_prompts = true;     ///< a prompt is computed once for all of its answers

  void declare(Options& options);
};

/// A part of a batch.
struct TreePart {
  data::TreeBatch batch;
  std::vector<int64_t> items;  ///< which trees these are
  at::Tensor common;           ///< what the whole batch has in common, as prepare_batch() leaves it; undefined where that is nothing
  int64_t target_tokens() const { return static_cast<int64_t>(items.size()); }
};

/// `Model` as of CorpusTask. Losses are averaged over trees.
template <typename Model>
class TreeTask : public train::CorpusTask<Model, TreePart> {
 public:
  TreeTask(Model& model, std::function<std::unique_ptr<Model>()> copy, Trees train, Trees valid, const TreeTaskOptions& options, data::LastTokens last,
           uint64_t seed, train::Ranks& ranks)
      : train::CorpusTask<Model, TreePart>(model, std::move(copy)), train_(std::move(train)), valid_(std::move(valid)), options_(options), last_(last), seed_(seed),
        order_key_(fmt::format("seed {}, batch-tokens {}, bucket-batches {}, tokens {:016x}", seed, options.batch_tokens, options.bucket_batches, fingerprint_of(*train_))) {
    ranks.expect_same("corpus", fmt::format("{} comparisons, {}; validation {:016x}", train_->size(), order_key_, fingerprint_of(*valid_)));
    begin(ranks.count());
  }

  train::Scores validate(train::Ranks& ranks) override {
    at::NoGradGuard no_grad;
    std::vector<double> sums;
    each_valid_part(ranks, [&](const TreePart& part) {
      const train::StepLoss loss = loss_of(this->model_, part, false, nullptr);
      add(sums, loss.sum.template item<double>(), static_cast<double>(loss.tokens), loss.measures);
    });
    sums.resize(2 + this->measures().size());
    const std::vector<double> all = ranks.sum(sums);
    return scores_of(all[0] / all[1], all[1], std::vector<double>(all.begin() + 2, all.end()));
  }

 protected:
  /// Of a part of the training data or of the validation data, which `trains` tells apart; `stream` null: evaluation.
  virtual train::StepLoss loss_of(const Model& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const = 0;
  /// Of a validation: the mean loss, the number of trees, and the sums of the measures.
  virtual train::Scores scores_of(double loss, double count, const std::vector<double>& sums) const {
    train::Scores scores{{"loss", loss}};
    const std::vector<std::string> names = this->measures();
    for (size_t i = 0; i < names.size(); ++i) scores.emplace_back(names[i], sums[i] / count);
    return scores;
  }
  /// Calls work(part) for this rank's share of the validation data.
  template <typename Work>
  void each_valid_part(const train::Ranks& ranks, Work work) const {
    const auto make = maker_of(valid_);
    int64_t number = 0;
    for (const std::vector<int64_t>& items : plan_in_order(valid_, options_.batch_tokens)) {
      if (number++ % ranks.count() != ranks.rank()) continue;
      std::vector<TreePart> batch{make(items)};
      prepare_batch(batch, false);
      work(batch.front());
    }
  }

  /// Fills in what the parts of one batch have in common, of the training data or of the validation data.
  virtual void prepare_batch(std::vector<TreePart>&, [[maybe_unused]] bool trains) const {}
  void prepare(std::vector<TreePart>& parts) const override { prepare_batch(parts, true); }

  train::StepLoss loss(const Model& model, const TreePart& part, tensor::DropoutStream& dropout) const override { return loss_of(model, part, true, &dropout); }

 private:
  static void add(std::vector<double>& sums, double loss, double count, const std::vector<double>& measures) {
    sums.resize(2 + measures.size());
    sums[0] += loss;
    sums[1] += count;
    for (size_t i = 0; i < measures.size(); ++i) sums[2 + i] += measures[i];
  }

  /// What makes parts of trees; it owns what it uses.
  std::function<TreePart(const std::vector<int64_t>&)> maker_of(const Trees& trees) const {
    const data::Prompts prompts = this->model_.sees_all() ? data::Prompts::kApart : options_.share_prompts ? data::Prompts::kShared : data::Prompts::kCopied;
    return [trees, last = last_, prompts, device = this->model_.output_layer().weight.device()](const std::vector<int64_t>& items) {
      return TreePart{batch_of(*trees, items, last, prompts, device), items, {}};
    };
  }

  void begin(int64_t stride) {
    this->split_batches(options_.batch_tokens, options_.part_tokens, std::numeric_limits<int64_t>::max());
    data::BatchOrder order;
    order.batch_tokens = options_.batch_tokens;
    order.bucket_batches = options_.bucket_batches;
    order.seed = seed_;
    const auto count = static_cast<int64_t>(train_->size());
    const auto plan = [trees = train_, order, count](int64_t epoch) { return data::plan_batches(count, lengths_of(trees), order, epoch); };
    const auto make = [trees = train_, make = maker_of(train_), parts = this->parts()](const std::vector<int64_t>& items) {
      std::vector<TreePart> all;
      for (const std::vector<int64_t>& part : data::deal(items, lengths_of(trees), parts)) all.push_back(make(part));
      return all;
    };
    this->begin_walk({plan, make, "comparisons", count, order_key_, "--batch-tokens or --bucket-batches"}, stride);
  }

  Trees train_, valid_;
  TreeTaskOptions options_;
  data::LastTokens last_;
  uint64_t seed_;
  std::string order_key_;  ///< the data, and what its order depends on
};

}  // namespace seqmill::align
