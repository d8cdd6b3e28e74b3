#include "align/preference_task.h"

#include "base/error.h"
#include "base/log.h"
#include "io/directory.h"

namespace seqmill::align {
namespace {

class PreferenceTask final : public TreeTask<model::Lm> {
 public:
  PreferenceTask(const PreferenceSetting& setting, const TreeTaskOptions& options, Trees train, Trees valid, ReferenceLogprobs reference, train::Ranks& ranks)
      : TreeTask(setting.model, setting.copy, std::move(train), std::move(valid), options, data::LastTokens::kPredicted, setting.seed, ranks),
        loss_(setting.loss), reference_(std::move(reference)) {}

  std::string unit() const override { return "pairs"; }

  std::vector<std::string> measures() const override {
    std::vector<std::string> names{"accuracy", "margin", "chosen-logprob", "rejected-logprob", "chosen-reward", "rejected-reward", "chosen-tokens", "rejected-tokens"};
    if (reference_.train.defined()) names.emplace_back("kl");
    return names;
  }

 private:
  train::StepLoss loss_of(const model::Lm& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const override {
    const PreferenceBatch answers = answers_of(model, part, trains, stream);
    const PreferenceValues values = loss_.of(answers);
    return {values.losses.sum(), 0, part.target_tokens(), part.batch.input_tokens(), measure(answers, values)};
  }

  PreferenceBatch answers_of(const model::Lm& model, const TreePart& part, bool trains, tensor::DropoutStream* stream) const {
    const auto pairs = static_cast<int64_t>(part.items.size());
    const at::Tensor policy = ending_logprobs(model, part.batch, stream).view({pairs, -1});
    const at::Tensor tokens = at::tensor(part.batch.lengths, at::kDouble).to(policy.device()).view({pairs, -1});
    const at::Tensor& all = trains ? reference_.train : reference_.valid;
    const at::Tensor reference = all.defined() ? all.index_select(0, at::tensor(part.items, at::kLong)).to(policy.device()) : at::Tensor();
    const auto answers = [&](int64_t ending) {
      return AnswerLogprobs{policy.select(1, ending), reference.defined() ? reference.select(1, ending) : at::Tensor(), tokens.select(1, ending)};
    };
    return {answers(0), answers(1), loss_.needs_mismatched() ? answers(2) : AnswerLogprobs()};
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
  ReferenceLogprobs reference_;  ///< undefined where no reference is asked
};

Trees read_pairs(const std::vector<std::string>& files, const ComparisonFiles& options, const PreferenceSetting& setting, const char* what) {
  const std::vector<text::Comparison> comparisons = text::read_comparisons(files, options.records);
  PreferencePairs pairs = make_pairs(comparisons, setting.frame, setting.tokenizer, options.window, setting.loss.needs_mismatched());
  if (pairs.alike > 0) log::warn("{}: {} pairs left out: within {} tokens their answers are the same", what, pairs.alike, options.window);
  log::info("{}: {} pairs of {} comparisons, {} tokens; more than {} tokens: {} prompts cut on the left, {} answers on the right", what, pairs.trees.size(),
            comparisons.size(), pairs.tokens, options.window, pairs.cut_prompts, pairs.cut_answers);
  return std::make_shared<const std::vector<data::PromptTree>>(std::move(pairs.trees));
}

}  // namespace

void PreferenceTaskOptions::declare(Options& options) {
  data.declare(options);
  batches.declare(options);
  options.add("measure-kl", measure_kl, "Also for a loss without a reference, ask the model of --model for log-probabilities, for the kl in the log");
}

std::unique_ptr<train::Task> make_preference_task(const PreferenceSetting& setting, const PreferenceTaskOptions& options, train::Ranks& ranks) {
  ComparisonFiles data = options.data;
  data.resolve(setting.model.max_positions());
  Trees train, valid;
  const auto read = [&] {
    train = read_pairs(data.train, data, setting, "training data");
    valid = read_pairs(data.valid, data, setting, "validation data");
  };
  // What is wrong with the data is said once.
  ranks.first_then_others(read, read);
  ReferenceLogprobs reference;
  if (setting.loss.needs_reference() || options.measure_kl) {
    if (ranks.first()) io::make_directory(setting.cache);
    reference = reference_logprobs(setting.reference, train, valid, options.batches.batch_tokens, setting.cache + "/reference.safetensors", setting.progress, ranks);
  }
  return std::make_unique<PreferenceTask>(setting, options.batches, train, valid, std::move(reference), ranks);
}

}  // namespace seqmill::align
