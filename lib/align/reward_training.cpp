#include "align/reward_training.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "io/output.h"
#include "model/adapters.h"
#include "model/estimator.h"
#include "train/trainer.h"

namespace seqmill::align {
namespace {

constexpr const char* kGenerative = "generative";
constexpr const char *kOfAnswers = "answer", *kReferenceFree = "reference-free", *kReferenceBased = "reference-based";

std::vector<std::string> names_of_objectives() {
  std::vector<std::string> names = Registry<ObjectiveType>::instance().names();
  names.push_back(kGenerative);
  return names;
}

/// What a scalar model and a judge are trained with alike.
class Training {
 public:
  Training(RewardTraining& training, const RewardCall& call, train::Session& session)
      : options_(training), call_(call), session_(session), language_(train::prepare_language(session, call.start, {}, {}, call.threads)),
        chat_(text::make_chat_template(language_.chat_template, *language_.tokenizer)) {}

  void run() { options_.scalar ? train_scalar() : train_judge(); }

 private:
  bool begins() const { return session_.ranks.first() && !session_.resumes; }
  bool learns_tokens() const { return !options_.scalar || options_.reward.sft_weight > 0; }
  std::unique_ptr<model::Lm> begin() const { return call_.start.begin(session_, call_.session, *language_.tokenizer, call_.seed, call_.threads, learns_tokens()); }
  std::unique_ptr<model::Lm> copy() const { return call_.start.build(language_.tokenizer->size(), std::nullopt); }
  void train(train::Task& task) const {
    train::train(task, session_.run, call_.session.trainer, call_.seed, call_.progress, session_.ranks, session_.begins);
  }

  void train_scalar() {
    const model::ScoreHeadMaker head = head_maker();
    const infer::Pooling pooling = options_.is_metric() ? infer::Pooling::kMean : infer::pooling_of(options_.pool);
    model::Scorer model(begin(), pooling, head);
    if (model.sees_all() && pooling == infer::Pooling::kLast) fail_usage("model.context full: where each token sees the whole text, the last one is as good as any; --pool mean takes all");
    if (begins() && model::initialise_head_from(call_.start.init_from, model)) log::info("the head is that of {}", call_.start.init_from);
    choose_learned(model);
    model.parameters().to(session_.device);
    options_.data.resolve(model.lm().max_positions());
    const auto copies = [&] {
      auto scorer = std::make_unique<model::Scorer>(copy(), pooling, head);
      choose_learned(*scorer);
      return scorer;
    };
    ComparisonData train, valid;
    session_.ranks.all_at_once([&] {
      train = load(true);
      valid = load(false);
    });
    const auto task = make_reward_task(model, copies, *options_.scalar, options_.aspects, std::move(train), std::move(valid), options_.reward, options_.batches, call_.seed, session_.ranks);
    this->train(*task);
  }

  bool uses_references() const { return options_.features == kReferenceBased; }

  model::ScoreHeadMaker head_maker() const {
    const auto heads = static_cast<int64_t>(options_.aspects.size());
    return options_.is_metric() ? model::estimator_head(heads, uses_references(), options_.hidden_widths()) : model::linear_head(heads);
  }

  void choose_learned(model::Scorer& model) const {
    const std::vector<nn::Parameter> learned = model.parameters().trained();
    const bool adapts = std::any_of(learned.begin(), learned.end(), [](const nn::Parameter& parameter) { return model::is_adapter(parameter.name); });
    if (options_.freeze && adapts) fail_usage("--lora.rank trains adapters of the language model, which --freeze leaves as it is");
    if (options_.freeze) model.freeze_lm();
    else if (options_.reward.sft_weight == 0) model.leave_output_layer();
  }

  ComparisonData load(bool trains) const {
    const ComparisonDataOptions& data = options_.data;
    const std::string what = trains ? "training data" : "validation data";
    const std::vector<std::string>& files = trains ? data.train : data.valid;
    const int64_t limit = trains ? data.train_limit : 0;
    if (options_.is_metric()) {
      const auto translations = limited(read_rated(files, data.records.skip_bad, options_.aspects, uses_references()), limit, call_.seed, "translations");
      return frame_rated(translations, options_.aspects, uses_references(), *language_.tokenizer, data.window, what);
    }
    const text::AnswerFraming framing(*chat_, *language_.tokenizer, data.window, true);
    if (options_.scalar->regresses()) {
      return frame_graded(limited(read_graded(files, data.records.skip_bad, options_.aspects), limit, call_.seed, "answers"), options_.aspects, framing, what);
    }
    return frame_comparisons(trains ? read_training(data, call_.seed) : text::read_comparisons(files, data.records), framing, what);
  }

  void train_judge() {
    const std::unique_ptr<model::Lm> model = begin();
    options_.data.resolve(model->max_positions());
    const text::Judge judge(questions(), *chat_, *language_.tokenizer, options_.data.window);
    if (session_.ranks.first()) keep(judge);
    const auto frame = [&](const std::vector<text::Comparison>& comparisons, Sides sides, const std::string& what) {
      return options_.judge.stage == 1 ? frame_pair_texts(comparisons, judge, options_.judge.learn == "second", call_.seed, what) : frame_questions(comparisons, judge, sides, call_.seed, what);
    };
    if (options_.judge.stage == 1) options_.data.records.verdicts = text::Verdicts::kIgnored;
    const std::string& sides = options_.judge.sides;
    ComparisonData train, valid;
    session_.ranks.all_at_once([&] {
      train = frame(read_training(options_.data, call_.seed), sides == "both" ? Sides::kBoth : sides == "given" ? Sides::kGiven : Sides::kRandom, "training data");
      valid = frame(text::read_comparisons(options_.data.valid, options_.data.records), Sides::kBoth, "validation data");
    });
    const auto task = make_judge_task(*model, [&] { return copy(); }, judge, std::move(train), std::move(valid), options_.judge, options_.batches, call_.seed, session_.ranks);
    this->train(*task);
  }

  /// What was kept of a model that may be gone lies in the run.
  text::JudgeOptions questions() const {
    const text::JudgeOptions& asked = options_.judge.judge;
    return asked.preamble == "kept" && session_.resumes ? text::load_judge_options(session_.run.path()) : asked;
  }

  /// A run asks the same questions from its first checkpoint on.
  void keep(const text::Judge& judge) const {
    const std::string file = session_.run.file(text::kJudgeFile);
    if (!session_.resumes) return io::write_file(file, judge.to_yaml());
    const text::Judge kept(text::load_judge_options(session_.run.path()), *chat_, *language_.tokenizer, options_.data.window);
    if (kept.to_yaml() != judge.to_yaml()) fail_usage("--judge.preamble or --judge.labels: {} holds other questions, which this run was begun with", file);
  }

  RewardTraining& options_;
  const RewardCall& call_;
  train::Session& session_;
  train::LmLanguage language_;
  std::unique_ptr<text::ChatTemplate> chat_;
};

}  // namespace

void RewardTraining::inherit(const infer::ModelConfig& source) {
  pool = infer::pooling_names().at(static_cast<size_t>(source.pooling));
  if (!source.aspects.empty()) aspects = source.aspects;
  if (!source.features.empty()) features = source.features;
  if (!source.hidden.empty()) hidden = source.hidden;
}

void RewardTraining::declare(Options& options, const std::string& source) {
  const std::vector<std::string> known = names_of_objectives();
  options.group("Objective");
  options.add("objective.type", objective, "What it is trained for; the options below are those of the one chosen").flag("objective").one_of(known);
  // An unknown one is reported when the option is set, which knows file and line.
  const std::string wanted = options.preview("objective", options.preview("objective.type", objective));
  const std::string chosen = std::find(known.begin(), known.end(), wanted) == known.end() ? objective : wanted;
  if (chosen == kGenerative) {
    features = kOfAnswers;
    if (!source.empty()) judge.judge = text::load_judge_options(source);
    judge.declare(options);
  } else {
    scalar = Registry<ObjectiveType>::instance().get(chosen).make();
    scalar->declare(options);
    if (!scalar->regresses()) {
      aspects = {"score"};
      features = kOfAnswers;
    }
    if (scalar->regresses()) {
      options.add("aspects", aspects, "Which scores of the records it learns, a head each").placeholder("NAME");
      options.add("features", features, "What scores are made of: answers to prompts, or of translations the texts, each by itself, without or with a reference (learned metrics)")
          .one_of({kOfAnswers, kReferenceFree, kReferenceBased});
    }
    if (scalar->regresses() && options.preview("features", features) != kOfAnswers) {
      options.add("hidden", hidden, "Widths of the hidden layers of a metric's head").placeholder("N");
    } else {
      options.add("pool", pool, "Which state of an answer its score is made of: that of its last token, or the mean over its tokens").one_of(infer::pooling_names());
    }
    options.add("freeze", freeze, "Train the head alone and leave the language model as it is");
    if (!scalar->regresses()) reward.declare(options);
  }
  data.declare(options);
  batches.declare(options);
}

void RewardTraining::check() const {
  if (!scalar) {
    if (judge.stage == 1 && data.label_noise > 0) fail_usage("--label-noise turns verdicts over, and stage 1 looks at none");
    if (judge.stage == 1 && data.length_match < 1) fail_usage("--length-match is of better and worse answers, and stage 1 looks at no verdict");
    return judge.check();
  }
  hidden_widths();
  scalar->check();
  if (freeze && reward.sft_weight > 0) fail_usage("--sft-weight trains the language model, which --freeze leaves as it is");
  if (!scalar->regresses()) return;
  if (data.length_match < 1) fail_usage("--length-match compares answers with each other, and --objective regression has each by itself");
  if (data.label_noise > 0) fail_usage("--label-noise turns verdicts over, and --objective regression has none");
  if (!data.records.labels.empty() || !data.records.fields.empty()) fail_usage("--labels and --fields are for comparisons; --objective regression reads graded answers");
}

std::vector<int64_t> RewardTraining::hidden_widths() const {
  std::vector<int64_t> widths;
  for (const std::string& text : hidden) {
    int64_t width = 0;
    if (!parse_int(text, width) || width < 1 || width > (int64_t{1} << 20)) fail_usage("--hidden {}: expected widths of layers, from 1 on", join(hidden, " "));
    widths.push_back(width);
  }
  return widths;
}

std::vector<std::string> RewardTraining::scores() const {
  if (scalar ? scalar->regresses() : judge.stage == 1) return {"loss"};
  return {"loss", "accuracy"};
}

void train_reward_model(RewardTraining& training, const RewardCall& call, train::Session& session) {
  if (call.start.exports() && training.is_metric()) fail_usage("--export-hf: transformers have no shape for a learned metric (--features {})", training.features);
  call.start.check_export(call.config_yaml, session.resumes);
  Training(training, call, session).run();
  if (session.ranks.first()) call.start.export_model(session.run.path(), session.resumes);
}

std::string list_objectives() {
  std::string lines;
  for (const std::string& name : Registry<ObjectiveType>::instance().names()) lines += fmt::format("{:<14} {}\n", name, Registry<ObjectiveType>::instance().get(name).paper);
  return lines + fmt::format("{:<14} {}\n", kGenerative, "GRAM: A Generative Foundation Reward Model for Reward Generalization, 2025");
}

}  // namespace seqmill::align
