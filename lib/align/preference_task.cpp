#include "align/preference_task.h"

#include <algorithm>

#include "base/log.h"

namespace seqmill::align {
namespace {

/// Training or validation data.
struct PairSet {
  Trees pairs, mismatched;                          ///< the latter null where the loss needs none
  at::Tensor reference, mismatched_reference = {};  ///< [pairs, 2] and [pairs, 1]; undefined where no reference is asked
};

class PreferenceTask final : public TreeTask<model::Lm> {
 public:
  PreferenceTask(const PreferenceSetting& setting, const TreeTaskOptions& options, PairSet train, PairSet valid, train::Ranks& ranks)
      : TreeTask(setting.model, setting.copy, train.pairs, valid.pairs, options, data::LastTokens::kPredicted, setting.seed, ranks),
        loss_(setting.loss), train_(std::move(train)), valid_(std::move(valid)) {}

  std::string unit() const override { return "pairs"; }

  std::vector<std::string> measures() const override {
    std::vector<std::string> names{"accuracy", "margin", "chosen-logprob", "rejected-logprob", "chosen-reward", "rejected-reward", "chosen-tokens", "rejected-tokens"};
    if (train_.reference.defined()) names.emplace_back("kl");
    return names;
  }

 private:
  train::StepLoss loss_of(const model::Lm& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const override {
    const PreferenceBatch answers = answers_of(model, part, trains, stream);
    const PreferenceValues values = loss_.of(answers);
    return {values.losses.sum(), 0, part.target_tokens(), part.batch.input_tokens(), measure(answers, values)};
  }

  /// In evaluation mode and without gradient, of the whole batch: the same for all of its parts, and by the same rule in training and validation.
  void prepare_batch(std::vector<TreePart>& parts, bool trains) const override {
    if (!loss_.needs_mismatched()) return;
    at::NoGradGuard no_grad;
    std::vector<int64_t> items;
    for (const TreePart& part : parts) items.insert(items.end(), part.items.begin(), part.items.end());
    // The same sum however the batch was dealt out.
    std::sort(items.begin(), items.end());
    const PairSet& set = trains ? train_ : valid_;
    const data::TreeBatch batch = batch_of(*set.mismatched, items, data::LastTokens::kPredicted, data::Prompts::kShared, model_.output_layer().weight.device());
    const at::Tensor policy = ending_logprobs(model_, batch, nullptr);
    const at::Tensor reference = set.mismatched_reference.index_select(0, at::tensor(items, at::kLong)).select(1, 0).to(policy.device());
    const at::Tensor all = at::stack({policy, reference, at::tensor(batch.lengths, at::kDouble).to(policy.device())});
    for (TreePart& part : parts) part.common = all;
  }

  PreferenceBatch answers_of(const model::Lm& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const {
    const auto pairs = static_cast<int64_t>(part.items.size());
    const at::Tensor policy = ending_logprobs(model, part.batch, stream).view({pairs, -1});
    const at::Tensor tokens = at::tensor(part.batch.lengths, at::kDouble).to(policy.device()).view({pairs, -1});
    const at::Tensor& all = trains ? train_.reference : valid_.reference;
    const at::Tensor reference = all.defined() ? all.index_select(0, at::tensor(part.items, at::kLong)).to(policy.device()) : at::Tensor();
    const auto answers = [&](int64_t ending) {
      return AnswerLogprobs{policy.select(1, ending), reference.defined() ? reference.select(1, ending) : at::Tensor(), tokens.select(1, ending)};
    };
    return {answers(0), answers(1), part.common.defined() ? AnswerLogprobs{part.common[0], part.common[1], part.common[2]} : AnswerLogprobs()};
  }

  /// Sums over the pairs of what measures() names.
  static std::vector<double> measure(const PreferenceBatch& answers, const PreferenceValues& values) {
    at::NoGradGuard no_grad;
    const AnswerLogprobs &chosen = answers.chosen, &rejected = answers.rejected;
    const at::Tensor margin = values.chosen_rewards - values.rejected_rewards;
    std::vector<at::Tensor> all{margin.gt(0).to(at::kDouble), margin,        chosen.policy, rejected.policy, values.chosen_rewards, values.rejected_rewards,
                                chosen.tokens,                rejected.tokens};
    if (chosen.reference.defined()) all.push_back((log_ratio(chosen) + log_ratio(rejected)) / 2);
    const at::Tensor sums = at::stack(all).sum(1).cpu();
    const double* numbers = sums.data_ptr<double>();
    return {numbers, numbers + sums.numel()};
  }

  const PreferenceLoss& loss_;
  PairSet train_, valid_;
};

PairSet read_pairs(const std::vector<std::string>& files, const ComparisonFiles& options, const PreferenceSetting& setting, const char* what) {
  const std::vector<text::Comparison> comparisons = text::read_comparisons(files, options.records);
  PreferencePairs pairs = make_pairs(comparisons, setting.frame, setting.tokenizer, options.window, setting.loss.needs_mismatched());
  if (pairs.alike > 0) log::warn("{}: {} pairs left out: within {} tokens their answers are the same", what, pairs.alike, options.window);
  log::info("{}: {} pairs of {} comparisons, {} tokens; more than {} tokens: {} prompts cut on the left, {} answers on the right", what, pairs.trees.size(),
            comparisons.size(), pairs.tokens, options.window, pairs.cut_prompts, pairs.cut_answers);
  return {share(std::move(pairs.trees)), pairs.mismatched.empty() ? nullptr : share(std::move(pairs.mismatched)), {}};
}

void ask(const Reference& reference, const PreferenceSetting& setting, const TreeTaskOptions& batches, PairSet& train, PairSet& valid, train::Ranks& ranks) {
  TreeSets sets{{"train", train.pairs}, {"valid", valid.pairs}};
  if (setting.loss.needs_mismatched()) sets.insert({{"train-mismatched", train.mismatched}, {"valid-mismatched", valid.mismatched}});
  // Threads of a CPU take as much at a time as in training.
  const bool on_cpu = setting.model.output_layer().weight.device().is_cpu();
  const int64_t tokens = on_cpu ? std::min(batches.part_tokens, batches.batch_tokens) : batches.batch_tokens;
  TreeLogprobs found = reference.logprobs(setting.model, setting.copy, sets, tokens, setting.progress, ranks);
  train.reference = found["train"];
  valid.reference = found["valid"];
  train.mismatched_reference = found["train-mismatched"];
  valid.mismatched_reference = found["valid-mismatched"];
}

}  // namespace

void PreferenceTaskOptions::declare(Options& options) {
  data.declare(options);
  batches.declare(options);
  options.add("measure-kl", measure_kl, "Also for a loss without a reference, ask the model of --model for log-probabilities, for the kl in the log");
}

std::unique_ptr<train::Task> make_preference_task(const PreferenceSetting& setting, const PreferenceTaskOptions& options, train::Ranks& ranks) {
  PairSet train, valid;
  ranks.all_at_once([&] {
    ComparisonFiles data = options.data;
    data.resolve(setting.model.max_positions());
    train = read_pairs(data.train, data, setting, "training data");
    valid = read_pairs(data.valid, data, setting, "validation data");
  });
  const Reference reference(setting.reference, setting.run, ranks);
  if (setting.loss.needs_reference() || options.measure_kl) ask(reference, setting, options.batches, train, valid, ranks);
  return std::make_unique<PreferenceTask>(setting, options.batches, std::move(train), std::move(valid), ranks);
}

}  // namespace seqmill::align
