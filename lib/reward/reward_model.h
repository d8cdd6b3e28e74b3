#pragma once
// What gives answers their scores: a reward model, which sees each answer by itself (a language model with a head that reads the state of the last token, or the mean of states); a learned
// metric, which sees source, hypothesis and perhaps reference (Rei et al., 2020, COMET); or a generative judge, which sees two answers at a time and says which is better (GRAM, "A Generative
// Foundation Reward Model for Reward Generalization", ICML 2025).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/backend.h"
#include "infer/language_model.h"
#include "text/chat.h"
#include "text/judge.h"

namespace seqmill::reward {

/// Two answers of an inquiry, to be compared.
struct Pairing {
  size_t first = 0, second = 0;
};

/// What scores are of.
enum class Subject {
  kAnswers,       ///< prompts and answers
  kTranslations,  ///< sources, which stand for prompts, and hypotheses, which stand for answers
  kReferenced     ///< the same with references
};

/// A prompt and answers to it.
struct Inquiry {
  std::vector<text::Message> messages;
  std::vector<std::string> answers;
  std::vector<Pairing> pairings = {};  ///< that a judge is asked about; others pass over them
  std::optional<std::string> reference = {};  ///< that a metric may need; others pass over it
};

struct Outcome {
  /// Of a reward model [answers, aspects]. Of a judge [pairings, 2]: the probability that the first is better, asked with the first in front, and asked with the second in
  /// front; each normalised over the two labels. All finite.
  std::vector<double> values;
  std::string wrong;  ///< why there are none; else ""
  int64_t tokens = 0;  ///< that were computed
  int64_t cut_prompts = 0, cut_answers = 0;  ///< too long for the window; of a judge questions, counted as prompts
};

class RewardModel {
 public:
  virtual ~RewardModel() = default;
  virtual bool is_judge() const { return false; }
  virtual Subject subject() const { return Subject::kAnswers; }
  /// What scores are about: one name for each score of an answer. Of a judge empty.
  virtual const std::vector<std::string>& aspects() const = 0;
  /// What is asked of one inquiry gives the same whatever else is asked. What is wrong with an inquiry is told in its outcome. Computes with so many threads.
  virtual std::vector<Outcome> ask(const std::vector<Inquiry>& inquiries, int threads) const = 0;
};

struct AskingOptions {
  int64_t window = 0;           ///< the most tokens of a prompt with an answer, or of a judge's question; 0: the model's positions, or when it is loaded that of its training
  bool share_prompts = true;    ///< what answers have in common is computed once
  int64_t batch_tokens = 4096;  ///< that a worker computes together
};

/// `aspects`: of the model's scores; empty: "score", or "score-1", "score-2" ... Throws Error when there are more or fewer.
std::unique_ptr<RewardModel> make_scalar_model(infer::LoadedLanguageModel model, const std::string& chat, std::vector<std::string> aspects, const AskingOptions& options);
std::unique_ptr<RewardModel> make_judge_model(infer::LoadedLanguageModel model, const std::string& chat, const text::JudgeOptions& judge, const AskingOptions& options);
/// Of a model with an estimator (lib/reward/metric_model.cpp).
std::unique_ptr<RewardModel> make_metric_model(infer::LoadedLanguageModel model, std::vector<std::string> aspects, const AskingOptions& options);
/// Several of one kind: the mean of what they say, or of scores the least. Throws a usage error for models that do not go together.
std::unique_ptr<RewardModel> make_ensemble(std::vector<std::unique_ptr<RewardModel>> models, bool least);

struct RewardModelOptions {
  std::vector<std::string> models;
  std::string chat;               ///< template; empty: each model's own
  std::string ensemble = "mean";  ///< of several models: mean, min
  AskingOptions asking;
  infer::BackendOptions backend;

  void declare(Options& options);
};

/// Throws Error for a model that neither scores nor judges, for one that memory is too small for, and a usage error for labels that are no single tokens.
std::unique_ptr<RewardModel> load_reward_model(const RewardModelOptions& options, int threads);

}  // namespace seqmill::reward
