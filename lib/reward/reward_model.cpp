#include "reward/reward_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "base/strings.h"
#include "infer/lm_backend.h"
#include "infer/lm_engine.h"
#include "infer/token_batches.h"
#include "io/safetensors.h"
#include "metric/calibration.h"
#include "text/fitting.h"

namespace seqmill::reward {
namespace {

using infer::Tokens;
using Tree = infer::LanguageModel::Tree;

int64_t window_of(const infer::LanguageModel& model, int64_t window) {
  if (window > model.max_positions()) fail_usage("--window {} is more than the {} positions of the model", window, model.max_positions());
  return window > 0 ? window : model.max_positions();
}

int64_t tokens_of(const std::vector<Tree>& trees) {
  size_t tokens = 0;
  for (const Tree& tree : trees) {
    tokens += tree.prompt.size();
    for (const Tokens& ending : tree.endings) tokens += ending.size();
  }
  return static_cast<int64_t>(tokens);
}

double product(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

std::vector<std::string> default_aspects(size_t count) {
  if (count == 1) return {"score"};
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back(fmt::format("score-{}", i + 1));
  return names;
}

/// What language models that score have alike: texts become states, of which numbers are made.
class StateModel : public RewardModel {
 public:
  StateModel(infer::LoadedLanguageModel model, const std::string& chat, const AskingOptions& options)
      : model_(std::move(model)),
        chat_(text::make_chat_template(chat.empty() ? model_.chat_template : chat, *model_.tokenizer)),
        window_(window_of(*model_.model, options.window)),
        options_(options) {}

  std::vector<Outcome> ask(const std::vector<Inquiry>& inquiries, int threads) const override {
    std::vector<Outcome> outcomes(inquiries.size());
    const std::vector<std::vector<Tree>> trees = frame_all(inquiries, outcomes, threads);
    std::vector<size_t> sizes;
    for (const Outcome& outcome : outcomes) sizes.push_back(static_cast<size_t>(outcome.tokens));
    infer::for_each_batch(sizes, options_.batch_tokens, threads, [&](size_t begin, size_t end, int each) {
      std::vector<Tree> all;
      for (size_t i = begin; i < end; ++i) all.insert(all.end(), trees[i].begin(), trees[i].end());
      const std::vector<float> states = model_.model->last_states(all, each);
      const float* next = states.data();
      for (size_t i = begin; i < end; ++i) {
        for (const Tree& tree : trees[i]) {
          for (size_t state = 0; state < std::max<size_t>(1, tree.endings.size()); ++state, next += model_.model->dim()) add_values(next, outcomes[i].values);
        }
        if (outcomes[i].wrong.empty()) check(outcomes[i]);
      }
    });
    return outcomes;
  }

 protected:
  /// The texts whose last states are needed, in order, cut ones counted. Throws Error for what cannot be asked.
  virtual std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const = 0;
  /// Appends what a state says.
  virtual void add_values(const float* state, std::vector<double>& values) const = 0;
  /// What values[i] is of: "answer 2".
  virtual std::string name_of(size_t value) const = 0;

  /// Texts as they go on what they have in common, each with a token at least; without sharing each by itself.
  std::vector<Tree> trees_of(Tokens prompt, std::vector<Tokens> endings) const {
    if (options_.share_prompts && endings.size() > 1) return {{std::move(prompt), std::move(endings)}};
    std::vector<Tree> trees;
    for (const Tokens& ending : endings) {
      trees.push_back({prompt, {}});
      trees.back().prompt.insert(trees.back().prompt.end(), ending.begin(), ending.end());
    }
    return trees;
  }

  const infer::LoadedLanguageModel model_;
  const std::unique_ptr<text::ChatTemplate> chat_;
  const int64_t window_;

 private:
  /// Tokenising takes its time, too.
  std::vector<std::vector<Tree>> frame_all(const std::vector<Inquiry>& inquiries, std::vector<Outcome>& outcomes, int threads) const {
    constexpr int64_t kBytes = 1 << 14;  // of a worker's turn
    std::vector<std::vector<Tree>> trees(inquiries.size());
    std::vector<size_t> sizes;
    for (const Inquiry& inquiry : inquiries) {
      size_t bytes = 1;
      for (const std::string& answer : inquiry.answers) bytes += answer.size();
      sizes.push_back(bytes * std::max<size_t>(1, inquiry.pairings.size()));
    }
    infer::for_each_batch(sizes, kBytes, threads, [&](size_t begin, size_t end, int) {
      for (size_t i = begin; i < end; ++i) {
        try {
          trees[i] = frame(inquiries[i], outcomes[i]);
          outcomes[i].tokens = tokens_of(trees[i]);
        } catch (const Error& error) {
          if (error.exit_code() != kExitFailure) throw;
          outcomes[i].wrong = error.what();
        }
      }
    });
    return trees;
  }

  void check(Outcome& outcome) const {
    const auto bad = std::find_if(outcome.values.begin(), outcome.values.end(), [](double value) { return !std::isfinite(value); });
    if (bad == outcome.values.end()) return;
    outcome.wrong = fmt::format("{}: the model gives a score of {}: it has diverged or is broken", name_of(static_cast<size_t>(bad - outcome.values.begin())), *bad);
    outcome.values.clear();
  }

  const AskingOptions options_;
};

class ScalarModel final : public StateModel {
 public:
  ScalarModel(infer::LoadedLanguageModel model, const std::string& chat, std::vector<std::string> aspects, const AskingOptions& options)
      : StateModel(std::move(model), chat, options), aspects_(std::move(aspects)), framing_(*chat_, *model_.tokenizer, window_, true) {
    const auto dim = static_cast<size_t>(model_.model->dim());
    const size_t heads = model_.score_head.size() / dim;
    if (heads == 0) fail("the model has no head that scores ({})", infer::kScoreHead);
    if (aspects_.empty()) aspects_ = default_aspects(heads);
    if (aspects_.size() != heads) fail("the model has {} scores and names for {} (aspects of its configuration): {}", heads, aspects_.size(), join(aspects_, ", "));
  }

  bool is_judge() const override { return false; }
  const std::vector<std::string>& aspects() const override { return aspects_; }

 protected:
  std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const override {
    text::FramedAnswers framed = framing_.frame(inquiry.messages, inquiry.answers);
    outcome.cut_prompts = framed.cut_prompt;
    outcome.cut_answers = std::count(framed.cut_answers.begin(), framed.cut_answers.end(), true);
    return trees_of(std::move(framed.prompt), std::move(framed.answers));
  }

  void add_values(const float* state, std::vector<double>& values) const override {
    const int64_t dim = model_.model->dim();
    for (size_t i = 0; i < aspects_.size(); ++i) values.push_back(product(state, model_.score_head.data() + static_cast<int64_t>(i) * dim, dim));
  }

  std::string name_of(size_t value) const override { return fmt::format("answer {}", value / aspects_.size() + 1); }

 private:
  std::vector<std::string> aspects_;
  text::AnswerFraming framing_;
};

class JudgeModel final : public StateModel {
 public:
  JudgeModel(infer::LoadedLanguageModel model, const std::string& chat, const text::JudgeOptions& judge, const AskingOptions& options)
      : StateModel(std::move(model), chat, options), judge_(judge, *chat_, *model_.tokenizer, window_) {
    for (size_t i = 0; i < labels_.size(); ++i) labels_[i] = model_.model->output_row(judge_.labels()[i]);
  }

  bool is_judge() const override { return true; }
  const std::vector<std::string>& aspects() const override { return aspects_; }

 protected:
  std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const override {
    std::vector<Tokens> questions;
    const auto add = [&](size_t first, size_t second) {
      text::JudgeQuestion question = judge_.question(inquiry.messages, inquiry.answers.at(first), inquiry.answers.at(second));
      outcome.cut_prompts += question.cut;
      questions.push_back(std::move(question.tokens));
    };
    for (const Pairing& pairing : inquiry.pairings) {
      add(pairing.first, pairing.second);
      add(pairing.second, pairing.first);
    }
    if (questions.empty()) return {};
    // The preamble, the prompt, and whatever else they begin with alike.
    size_t common = questions[0].size() - 1;
    for (const Tokens& question : questions) {
      common = std::min(common, question.size() - 1);
      common = static_cast<size_t>(std::mismatch(question.begin(), question.begin() + static_cast<int64_t>(common), questions[0].begin()).first - question.begin());
    }
    const Tokens prompt(questions[0].begin(), questions[0].begin() + static_cast<int64_t>(common));
    for (Tokens& question : questions) question.erase(question.begin(), question.begin() + static_cast<int64_t>(common));
    if (common > 0) return trees_of(prompt, std::move(questions));
    std::vector<Tree> trees;
    for (Tokens& question : questions) trees.push_back({std::move(question), {}});
    return trees;
  }

  /// Of the orders in turn: in the second, the label that stands for the second answer of the question stands for the first of the pairing.
  void add_values(const float* state, std::vector<double>& values) const override {
    const int64_t dim = model_.model->dim();
    const double difference = product(state, labels_[0].data(), dim) - product(state, labels_[1].data(), dim);
    values.push_back(metric::sigmoid(values.size() % 2 == 0 ? difference : -difference));
  }

  std::string name_of(size_t value) const override { return fmt::format("comparison {}", value / 2 + 1); }

 private:
  const std::vector<std::string> aspects_;
  text::Judge judge_;
  std::array<std::vector<float>, 2> labels_;  ///< rows of the output layer
};

class Ensemble final : public RewardModel {
 public:
  Ensemble(std::vector<std::unique_ptr<RewardModel>> models, bool least) : models_(std::move(models)), least_(least) {
    for (const auto& model : models_) {
      if (model->is_judge() != is_judge()) fail_usage("--model: a judge and a model that scores each answer cannot be combined");
      if (model->aspects() != aspects()) fail_usage("--model: models that score '{}' and '{}' cannot be combined", join(aspects(), ", "), join(model->aspects(), ", "));
    }
    if (least && is_judge()) fail_usage("--ensemble min is for models that score each answer; of judges the mean is taken");
  }

  bool is_judge() const override { return models_[0]->is_judge(); }
  const std::vector<std::string>& aspects() const override { return models_[0]->aspects(); }

  std::vector<Outcome> ask(const std::vector<Inquiry>& inquiries, int threads) const override {
    std::vector<Outcome> all = models_[0]->ask(inquiries, threads);
    for (size_t m = 1; m < models_.size(); ++m) {
      const std::vector<Outcome> more = models_[m]->ask(inquiries, threads);
      for (size_t i = 0; i < all.size(); ++i) add(all[i], more[i]);
    }
    for (Outcome& outcome : all) {
      for (double& value : outcome.values) value /= least_ ? 1 : static_cast<double>(models_.size());
    }
    return all;
  }

 private:
  void add(Outcome& sum, const Outcome& more) const {
    sum.tokens += more.tokens;
    sum.cut_prompts += more.cut_prompts;
    sum.cut_answers += more.cut_answers;
    if (sum.wrong.empty()) sum.wrong = more.wrong;
    if (!sum.wrong.empty()) sum.values.clear();
    for (size_t i = 0; i < sum.values.size(); ++i) sum.values[i] = least_ ? std::min(sum.values[i], more.values[i]) : sum.values[i] + more.values[i];
  }

  const std::vector<std::unique_ptr<RewardModel>> models_;
  const bool least_;
};

/// The window that is asked for, else that of the model's training; 0: its positions.
int64_t chosen_window(const infer::ModelConfig& config, int64_t asked, int64_t positions) {
  if (asked > 0 || !config.window) return asked;
  return *config.window > 0 ? std::min(*config.window, positions) : text::usual_window(positions);
}

/// `available`: before any of the models was loaded; `taken`: of that, the weights of those before this one.
void check_memory_of(const infer::ModelSource& source, const std::shared_ptr<const text::Tokenizer>& tokenizer, const RewardModelOptions& options, int threads,
                     int64_t available, int64_t& taken) {
  // Of a type that LibTorch alone knows, nothing can be told before it is loaded.
  if (options.backend.device != "cpu" || !infer::lm_engine_knows(source.config.type)) return;
  const infer::LanguageModelSize size = infer::size_language_model(source.path, tokenizer);
  const int64_t window = chosen_window(source.config, options.asking.window, size.max_positions);
  const int64_t positions = window > 0 ? std::min(window, size.max_positions) : size.max_positions;
  const int64_t rows = std::max<int64_t>(1, options.asking.batch_tokens / positions);
  infer::check_memory(size, source.path, options.backend.precision, {threads * rows, positions, threads}, available == INT64_MAX ? available : available - taken,
                      "a smaller --batch-tokens or --window, or fewer --threads");
  taken += size.weight_bytes(options.backend.precision);
}

}  // namespace

std::unique_ptr<RewardModel> make_scalar_model(infer::LoadedLanguageModel model, const std::string& chat, std::vector<std::string> aspects, const AskingOptions& options) {
  return std::make_unique<ScalarModel>(std::move(model), chat, std::move(aspects), options);
}

std::unique_ptr<RewardModel> make_judge_model(infer::LoadedLanguageModel model, const std::string& chat, const text::JudgeOptions& judge, const AskingOptions& options) {
  return std::make_unique<JudgeModel>(std::move(model), chat, judge, options);
}

std::unique_ptr<RewardModel> make_ensemble(std::vector<std::unique_ptr<RewardModel>> models, bool least) {
  if (models.empty()) fail("an ensemble of no models");
  return std::make_unique<Ensemble>(std::move(models), least);
}

void RewardModelOptions::declare(Options& options) {
  options.add("model", models, "Reward model or judge: model directory, checkpoint, run, or a directory of Hugging Face; several: an ensemble").placeholder("DIR").required();
  options.add("ensemble", ensemble, "Of several models: the mean of what they say, or the least of their scores").one_of({"mean", "min"});
  options.add("chat", chat, "Chat template of prompts and answers; default: the model's own").placeholder("TEMPLATE");
  options.add("window", asking.window,
              "Tokens of a prompt with its answer, or of a judge's question; 0: as in the model's training (window of its config.yaml), of others as many as they have positions for")
      .range(0, int64_t{1} << 31);
  options.add("share-prompts", asking.share_prompts, "Compute what answers have in common once; changes speed, and scores by rounding alone");
  options.add("batch-tokens", asking.batch_tokens, "Tokens that a worker computes together; changes speed and memory, not the result").range(1, int64_t{1} << 31);
  backend.declare(options);
}

std::unique_ptr<RewardModel> load_reward_model(const RewardModelOptions& options, int threads) {
  infer::check_backend(options.backend);
  std::vector<std::unique_ptr<RewardModel>> models;
  const int64_t available = available_memory();
  int64_t taken = 0;
  for (const std::string& path : options.models) {
    const infer::ModelSource source(path);
    // Whoever trains a head on a judge has a judge.yaml beside it.
    const bool scores = io::WeightFiles(source.files.weights).find(infer::kScoreHead) != nullptr;
    const bool judges = !scores && std::filesystem::exists(source.files.directory + "/" + text::kJudgeFile);
    if (!scores && !judges) {
      fail("{} is no reward model: expected a model with a head that scores ({} among its weights), or a judge (with {}), as rm-train makes them", path, infer::kScoreHead,
           text::kJudgeFile);
    }
    const auto tokenizer = text::load_tokenizer(source.files.directory);
    check_memory_of(source, tokenizer, options, threads, available, taken);
    infer::LoadedLanguageModel model = infer::load_language_model(path, options.backend, threads, tokenizer);
    AskingOptions asking = options.asking;
    asking.window = chosen_window(source.config, asking.window, model.model->max_positions());
    models.push_back(scores ? make_scalar_model(std::move(model), options.chat, source.config.aspects, asking)
                            : make_judge_model(std::move(model), options.chat, text::load_judge_options(source.files.directory), asking));
  }
  return models.size() == 1 ? std::move(models[0]) : make_ensemble(std::move(models), options.ensemble == "min");
}

}  // namespace seqmill::reward
