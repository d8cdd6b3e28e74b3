#include "reward/reward_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "base/strings.h"
#include "infer/lm_backend.h"
#include "infer/lm_engine.h"
#include "io/safetensors.h"
#include "metric/calibration.h"
#include "reward/state_model.h"
#include "text/fitting.h"

namespace seqmill::reward {
namespace {

using infer::Tokens;

double product(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

class ScalarModel final : public StateModel {
 public:
  ScalarModel(infer::LoadedLanguageModel model, const std::string& chat, std::vector<std::string> aspects, const AskingOptions& options)
      : StateModel(std::move(model), options), chat_(chat_of(chat)), aspects_(std::move(aspects)), framing_(*chat_, *model_.tokenizer, window_, true) {
    const auto dim = static_cast<size_t>(model_.model->dim());
    const size_t heads = model_.score_head.size() / dim;
    if (heads == 0) fail("the model has no head that scores ({})", infer::kScoreHead);
    name_aspects(aspects_, heads);
  }

  const std::vector<std::string>& aspects() const override { return aspects_; }

 protected:
  std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const override {
    text::FramedAnswers framed = framing_.frame(inquiry.messages, inquiry.answers);
    outcome.cut_prompts = framed.cut_prompt;
    outcome.cut_answers = std::count(framed.cut_answers.begin(), framed.cut_answers.end(), true);
    return trees_of(std::move(framed.prompt), std::move(framed.answers));
  }

  infer::Pooling pooling() const override { return model_.pooling; }

  void add_values(const float* states, size_t count, std::vector<double>& values) const override {
    const int64_t dim = model_.model->dim();
    for (const float* state = states; state < states + static_cast<int64_t>(count) * dim; state += dim) {
      for (size_t i = 0; i < aspects_.size(); ++i) values.push_back(product(state, model_.score_head.data() + static_cast<int64_t>(i) * dim, dim));
    }
  }

  std::string name_of(size_t value) const override { return fmt::format("answer {}", value / aspects_.size() + 1); }

 private:
  const std::unique_ptr<text::ChatTemplate> chat_;
  std::vector<std::string> aspects_;
  text::AnswerFraming framing_;
};

class JudgeModel final : public StateModel {
 public:
  JudgeModel(infer::LoadedLanguageModel model, const std::string& chat, const text::JudgeOptions& judge, const AskingOptions& options)
      : StateModel(std::move(model), options), chat_(chat_of(chat)), judge_(judge, *chat_, *model_.tokenizer, window_) {
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
  void add_values(const float* states, size_t count, std::vector<double>& values) const override {
    const int64_t dim = model_.model->dim();
    for (const float* state = states; state < states + static_cast<int64_t>(count) * dim; state += dim) {
      const double difference = product(state, labels_[0].data(), dim) - product(state, labels_[1].data(), dim);
      values.push_back(metric::sigmoid(values.size() % 2 == 0 ? difference : -difference));
    }
  }

  std::string name_of(size_t value) const override { return fmt::format("comparison {}", value / 2 + 1); }

 private:
  const std::unique_ptr<text::ChatTemplate> chat_;
  const std::vector<std::string> aspects_;
  text::Judge judge_;
  std::array<std::vector<float>, 2> labels_;  ///< rows of the output layer
};

class Ensemble final : public RewardModel {
 public:
  Ensemble(std::vector<std::unique_ptr<RewardModel>> models, bool least) : models_(std::move(models)), least_(least) {
    for (const auto& model : models_) {
      if (model->is_judge() != is_judge()) fail_usage("--model: a judge and a model that scores each answer cannot be combined");
      if (model->subject() != subject()) fail_usage("--model: models that score answers and metrics without and with references cannot be combined");
      if (model->aspects() != aspects()) fail_usage("--model: models that score '{}' and '{}' cannot be combined", join(aspects(), ", "), join(model->aspects(), ", "));
    }
    if (least && is_judge()) fail_usage("--ensemble min is for models that score each answer; of judges the mean is taken");
  }

  bool is_judge() const override { return models_[0]->is_judge(); }
  Subject subject() const override { return models_[0]->subject(); }
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
    const io::WeightFiles weights(source.files.weights);
    const bool estimates = weights.find(infer::estimator_weight(0)) != nullptr, scores = estimates || weights.find(infer::kScoreHead) != nullptr;
    const bool judges = !scores && std::filesystem::exists(source.files.directory + "/" + text::kJudgeFile);
    if (estimates && !options.chat.empty()) fail_usage("--chat {}: {} is a learned metric, which reads texts as they are", options.chat, path);
    if (!scores && !judges) {
      fail("{} is no reward model: expected a model with a head that scores ({}, or {} of a metric, among its weights), or a judge (with {}), as rm-train makes them", path,
           infer::kScoreHead, infer::estimator_weight(0), text::kJudgeFile);
    }
    const auto tokenizer = text::load_tokenizer(source.files.directory);
    check_memory_of(source, tokenizer, options, threads, available, taken);
    infer::LoadedLanguageModel model = infer::load_language_model(path, options.backend, threads, tokenizer);
    AskingOptions asking = options.asking;
    asking.window = chosen_window(source.config, asking.window, model.model->max_positions());
    if (estimates) {
      models.push_back(make_metric_model(std::move(model), source.config.aspects, asking));
      continue;
    }
    models.push_back(scores ? make_scalar_model(std::move(model), options.chat, source.config.aspects, asking)
                            : make_judge_model(std::move(model), options.chat, text::load_judge_options(source.files.directory), asking));
  }
  return models.size() == 1 ? std::move(models[0]) : make_ensemble(std::move(models), options.ensemble == "min");
}

}  // namespace seqmill::reward
