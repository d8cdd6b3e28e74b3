#include "align/judge_task.h"

#include <cmath>

#include "base/error.h"
#include "loss/cross_entropy.h"
#include "metric/calibration.h"
#include "tensor/embedding.h"

namespace seqmill::align {
namespace {

using model::Lm;

/// What is predicted of a part, and from where.
struct Predicted {
  at::Tensor states;  ///< [M, D]
  at::Tensor targets;
};

Predicted predict(const Lm& model, const TreePart& part, tensor::DropoutStream* stream) {
  return {model.features(part.batch.input, stream).index_select(0, part.batch.rows), part.batch.targets};
}

/// Stage 1: ordinary language modelling of the answers.
class PairTextTask final : public TreeTask<Lm> {
 public:
  PairTextTask(Lm& model, const LmCopier& copy, ComparisonData train, ComparisonData valid, const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks)
      : TreeTask(model, copy, share(std::move(train.trees)), share(std::move(valid.trees)), batches, data::LastTokens::kPredicted, seed, ranks) {}

 protected:
  train::StepLoss loss_of(const Lm& model, const TreePart& part, bool, tensor::DropoutStream* stream) const override {
    const Predicted predicted = predict(model, part, stream);
    const model::OutputLayer output = model.output_layer();
    const loss::TokenLoss loss = loss::label_smoothed_cross_entropy(predicted.states, output.weight, output.bias, predicted.targets, 0);
    return {loss.sum, loss.nll_sum, predicted.targets.size(0), part.batch.input_tokens(), {}};
  }

  train::Scores scores_of(double loss, double, const std::vector<double>&) const override { return {{"loss", loss}, {"ppl", std::exp(loss)}}; }
};

class JudgeTask final : public TreeTask<Lm> {
 public:
  JudgeTask(Lm& model, const LmCopier& copy, const text::Judge& judge, ComparisonData train, ComparisonData valid, const JudgeTaskOptions& options,
            const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks)
      : TreeTask(model, copy, share(std::move(train.trees)), share(std::move(valid.trees)), batches, data::LastTokens::kPredicted, seed, ranks),
        labels_{judge.labels()[0], judge.labels()[1]}, valid_(std::move(valid.judged)), options_(options) {}

  std::string unit() const override { return "questions"; }
  std::vector<std::string> measures() const override { return {"accuracy", "margin"}; }

  train::Scores validate(train::Ranks& ranks) override {
    at::NoGradGuard no_grad;
    std::vector<double> table(valid_.size() + 1);  // d of every question; the sum of losses behind them
    each_valid_part(ranks, [&](const TreePart& part) {
      const Outcome outcome = judge(model_, part, nullptr);
      table.back() += outcome.losses.sum().item<double>();
      const at::Tensor differences = outcome.differences.to(at::kCPU, at::kDouble).contiguous();
      for (size_t i = 0; i < part.items.size(); ++i) table[static_cast<size_t>(part.items[i])] = differences.data_ptr<double>()[i];
    });
    return scores_of_pairs(ranks.sum(table));
  }

 protected:
  train::StepLoss loss_of(const Lm& model, const TreePart& part, bool, tensor::DropoutStream* stream) const override {
    const Outcome outcome = judge(model, part, stream);
    const at::Tensor differences = outcome.differences.detach();
    return {outcome.losses.sum(), 0, part.target_tokens(), part.batch.input_tokens(),
            {static_cast<double>((differences > 0).sum().item<int64_t>()), differences.abs().sum().item<double>()}};
  }

 private:
  struct Outcome {
    at::Tensor differences;  ///< [questions]: logit of the right label - logit of the other
    at::Tensor losses;       ///< [questions], or [] summed
  };

  Outcome judge(const Lm& model, const TreePart& part, tensor::DropoutStream* stream) const {
    const Predicted predicted = predict(model, part, stream);
    const model::OutputLayer output = model.output_layer();
    const at::Tensor labels = at::tensor({static_cast<int64_t>(labels_[0]), static_cast<int64_t>(labels_[1])}, at::kLong).to(predicted.states.device());
    const at::Tensor logits = at::matmul(predicted.states, tensor::embed(output.weight, labels, 1).t());
    const at::Tensor first_is_right = predicted.targets == labels[0], first = logits.select(1, 0) - logits.select(1, 1);
    const at::Tensor differences = at::where(first_is_right, first, -first);
    if (options_.softmax == "labels") return {differences, judge_losses(differences, {}, options_.smoothing.weight())};
    const at::Tensor nll = loss::label_smoothed_cross_entropy(predicted.states, output.weight, output.bias, predicted.targets, 0).sum.to(at::kFloat);
    return {differences, judge_losses(differences.sum(), nll, options_.smoothing.weight())};
  }

  /// Questions 2 i and 2 i + 1 show pair i in its two orders.
  train::Scores scores_of_pairs(const std::vector<double>& table) const {
    std::vector<double> probabilities;
    double right = 0, single = 0, consistent = 0, margin = 0;
    for (size_t i = 0; i + 2 < table.size(); i += 2) {
      const double a = table[i], b = table[i + 1], p = (metric::sigmoid(a) + metric::sigmoid(b)) / 2;
      probabilities.push_back(p);
      right += p > 0.5;
      single += (a > 0) + (b > 0);
      consistent += metric::orders_agree(a, b);
      margin += std::fabs(a) + std::fabs(b);
    }
    const auto pairs = static_cast<double>(probabilities.size());
    const metric::Calibration calibration = metric::calibration(probabilities);
    return {{"loss", table.back() / (2 * pairs)}, {"accuracy", right / pairs}, {"ece", calibration.ece}, {"brier", calibration.brier},
            {"order-consistency", consistent / pairs}, {"accuracy-one-order", single / (2 * pairs)}, {"margin", margin / (2 * pairs)}};
  }

  std::array<int32_t, 2> labels_;
  std::vector<Judged> valid_;
  JudgeTaskOptions options_;
};

}  // namespace

void JudgeTaskOptions::declare(Options& options) {
  options.add("objective.stage", stage, "1: learn both answers behind their prompt, without a verdict; 2: learn the label of the better one").range(1, 2);
  options.add("objective.learn", learn, "Stage 1: which answers are learned, both or the second alone, given the first").one_of({"both", "second"});
  options.add("objective.softmax", softmax, "What a label's probability is normalised over").one_of({"labels", "vocabulary"});
  options.add("objective.sides", sides, "Which answer a training question shows first: by a coin; both orders; as given").one_of({"random", "both", "given"});
  smoothing.declare(options);
  judge.declare(options);
}

void JudgeTaskOptions::check() const {
  smoothing.check();
  if (stage == 1 && smoothing.weight() > 0) fail_usage("--objective.eps and --objective.label-smoothing belong to stage 2: stage 1 has no labels");
  if (stage == 2 && learn != "both") fail_usage("--objective.learn {} belongs to stage 1: stage 2 learns labels", learn);
}

at::Tensor judge_losses(const at::Tensor& differences, const at::Tensor& all_logits_nll, double eps) {
  return all_logits_nll.defined() ? all_logits_nll + eps * differences : bradley_terry(differences, eps);
}

std::unique_ptr<train::Task> make_judge_task(Lm& model, const LmCopier& copy, const text::Judge& judge, ComparisonData train, ComparisonData valid, const JudgeTaskOptions& options,
                                             const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks) {
  if (options.stage == 1) return std::make_unique<PairTextTask>(model, copy, std::move(train), std::move(valid), batches, seed, ranks);
  return std::make_unique<JudgeTask>(model, copy, judge, std::move(train), std::move(valid), options, batches, seed, ranks);
}

}  // namespace seqmill::align
