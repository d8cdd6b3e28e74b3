#include "align/reward_task.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "loss/cross_entropy.h"
#include "metric/calibration.h"
#include "metric/correlation.h"

namespace seqmill::align {
namespace {

using model::Scorer;

class RewardTask final : public TreeTask<Scorer> {
 public:
  RewardTask(Scorer& model, const ScorerCopier& copy, const Objective& objective, std::vector<std::string> aspects, ComparisonData train, ComparisonData valid,
             const RewardTaskOptions& options, const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks)
      : TreeTask(model, copy, share(std::move(train.trees)), share(std::move(valid.trees)), batches, data::LastTokens::kRead, seed, ranks),
        objective_(objective), aspects_(std::move(aspects)), train_(std::move(train.judged)), valid_(std::move(valid.judged)), options_(options) {}

  std::string unit() const override { return objective_.regresses() ? "answers" : "comparisons"; }

  std::vector<std::string> measures() const override {
    if (objective_.regresses()) return {};
    return {"accuracy", "margin"};
  }

  train::Scores validate(train::Ranks& ranks) override {
    at::NoGradGuard no_grad;
    // Rank by rank a share, zeros elsewhere: the sum is the whole, in the order of the data.
    Table table(valid_);
    std::vector<double> loss(2);
    each_valid_part(ranks, [&](const TreePart& part) {
      const ScoredBatch batch = score(model_, part, valid_, nullptr).batch;
      loss[0] += objective_.losses(batch).sum().item<double>();
      loss[1] += static_cast<double>(part.items.size());
      table.put(part, batch);
    });
    table.scores.insert(table.scores.end(), loss.begin(), loss.end());
    std::vector<double> all = ranks.sum(table.scores);
    train::Scores scores{{"loss", all[all.size() - 2] / all.back()}};
    all.resize(all.size() - 2);
    for (const auto& score : objective_.regresses() ? of_labels(table, all) : of_pairs(table, all)) scores.push_back(score);
    return scores;
  }

 protected:
  train::StepLoss loss_of(const Scorer& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const override {
    const Scored scored = score(model, part, trains ? train_ : valid_, stream);
    at::Tensor sum = objective_.losses(scored.batch).sum();
    if (options_.sft_weight > 0 && trains) sum = (1 - options_.sft_weight) * sum + options_.sft_weight * likelihood_loss(model, part, scored);
    train::StepLoss loss{sum, 0, part.target_tokens(), part.batch.input_tokens(), {}};
    if (!objective_.regresses()) loss.measures = measures_of(scored.batch);
    return loss;
  }

 private:
  struct Scored {
    ScoredBatch batch;
    at::Tensor states;  ///< [rows, D]
  };

  /// Scores of the validation data, answer by answer.
  struct Table {
    explicit Table(const std::vector<Judged>& judged) {
      for (const Judged& tree : judged) begin.push_back(begin.back() + (tree.labels.empty() ? tree.merits.size() : tree.labels.size()));
      scores.resize(begin.back());
    }

    void put(const TreePart& part, const ScoredBatch& batch) {
      const at::Tensor numbers = batch.scores.to(at::kCPU, at::kDouble).contiguous();
      const double* from = numbers.data_ptr<double>();
      for (size_t i = 0; i < part.items.size(); ++i) {
        const auto tree = static_cast<size_t>(part.items[i]);
        const size_t count = begin[tree + 1] - begin[tree];
        std::copy_n(from, count, scores.begin() + static_cast<std::ptrdiff_t>(begin[tree]));
        from += count;
      }
    }

    std::vector<size_t> begin{0};
    std::vector<double> scores;
  };

  static Scored score(const Scorer& model, const TreePart& part, const std::vector<Judged>& judged, tensor::DropoutStream* stream) {
    const at::Tensor states = states_of(model, part, stream);
    Scored scored{{model.scores(states, part.batch), part.batch.counts, {}}, states};
    for (int64_t& count : scored.batch.counts) count /= model.texts();
    for (const int64_t item : part.items) scored.batch.judged.push_back(&judged[static_cast<size_t>(item)]);
    return scored;
  }

  /// Of a language model that stays as it is, no graph is needed.
  static at::Tensor states_of(const Scorer& model, const TreePart& part, tensor::DropoutStream* stream) {
    const at::AutoGradMode records(at::GradMode::is_enabled() && model.lm_learns());
    return model.lm().features(part.batch.input, stream);
  }

  static std::vector<double> measures_of(const ScoredBatch& batch) {
    at::NoGradGuard no_grad;
    const ScoredPairs pairs = pairs_of(batch);
    const at::Tensor differences = pairs.differences.detach();
    return {mean_by_comparison(batch, pairs, (differences > 0).to(at::kFloat)).sum().item<double>(), mean_by_comparison(batch, pairs, differences).sum().item<double>()};
  }

  /// The negative log-likelihood per token of the best answer of each comparison, summed over comparisons.
  static at::Tensor likelihood_loss(const Scorer& model, const TreePart& part, const Scored& scored) {
    std::vector<int64_t> tokens;
    std::vector<float> shares;
    size_t ending = 0;
    int64_t first = 0;
    for (size_t tree = 0; tree < part.items.size(); ++tree) {
      const std::vector<double>& merits = scored.batch.judged[tree]->merits;
      const auto best = std::max_element(merits.begin(), merits.end()) - merits.begin();
      for (int64_t answer = 0; answer < part.batch.counts[tree]; ++answer, ++ending) {
        const int64_t length = part.batch.lengths[ending];
        for (int64_t t = 0; answer == best && t < length; ++t) {
          tokens.push_back(first + t);
          shares.push_back(1 / static_cast<float>(length));
        }
        first += length;
      }
    }
    const at::Device device = part.batch.rows.device();
    const at::Tensor index = at::tensor(tokens, at::kLong).to(device);
    const model::OutputLayer output = model.output_layer();
    const at::Tensor logprobs = loss::token_logprobs(scored.states.index_select(0, part.batch.rows.index_select(0, index)), output.weight, output.bias,
                                                     part.batch.targets.index_select(0, index));
    return -at::dot(logprobs.to(at::kFloat), at::tensor(shares, at::kFloat).to(device));
  }

  train::Scores of_pairs(const Table& table, const std::vector<double>& scores) const {
    std::vector<double> probabilities;
    double right = 0, margin = 0;
    for (size_t tree = 0; tree < valid_.size(); ++tree) {
      for (const text::Preference& pair : valid_[tree].pairs) {
        const double difference = scores[table.begin[tree] + pair.better] - scores[table.begin[tree] + pair.worse];
        right += difference > 0;
        margin += difference;
        probabilities.push_back(metric::sigmoid(difference));
      }
    }
    const auto count = static_cast<double>(probabilities.size());
    const metric::Calibration calibration = metric::calibration(probabilities);
    return {{"accuracy", right / count}, {"margin", margin / count}, {"ece", calibration.ece}, {"brier", calibration.brier}};
  }

  train::Scores of_labels(const Table& table, const std::vector<double>& scores) const {
    train::Scores result;
    for (size_t aspect = 0; aspect < aspects_.size(); ++aspect) {
      std::vector<double> predicted, wanted;
      for (size_t tree = 0; tree < valid_.size(); ++tree) {
        const double label = valid_[tree].labels[aspect];
        if (std::isnan(label)) continue;
        predicted.push_back(scores[table.begin[tree] + aspect]);
        wanted.push_back(label);
      }
      double error = 0;
      for (size_t i = 0; i < wanted.size(); ++i) error += (predicted[i] - wanted[i]) * (predicted[i] - wanted[i]);
      result.emplace_back("rmse-" + aspects_[aspect], std::sqrt(error / static_cast<double>(wanted.size())));
      // Undefined for labels that are all the same, or scores.
      result.emplace_back("pearson-" + aspects_[aspect], metric::pearson(predicted, wanted).value.value_or(std::numeric_limits<double>::quiet_NaN()));
    }
    return result;
  }

  const Objective& objective_;
  std::vector<std::string> aspects_;
  std::vector<Judged> train_, valid_;
  RewardTaskOptions options_;
};

}  // namespace

void RewardTaskOptions::declare(Options& options) {
  options.add("sft-weight", sft_weight, "a in (1 - a) objective + a negative log-likelihood per token of the best answers: keeps the language model from drifting").range(0, 0.99);
}

std::unique_ptr<train::Task> make_reward_task(Scorer& model, const ScorerCopier& copy, const Objective& objective, std::vector<std::string> aspects, ComparisonData train,
                                              ComparisonData valid, const RewardTaskOptions& options, const TreeTaskOptions& batches, uint64_t seed, train::Ranks& ranks) {
  return std::make_unique<RewardTask>(model, copy, objective, std::move(aspects), std::move(train), std::move(valid), options, batches, seed, ranks);
}

}  // namespace seqmill::align
