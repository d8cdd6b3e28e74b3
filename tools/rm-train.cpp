// rm-train: trains a reward model.

#include <filesystem>

#include "align/judge_task.h"
#include "align/reward_task.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "cli/tool_main.h"
#include "io/output.h"
#include "io/run_dir.h"
#include "model/lm_load.h"
#include "train/lm_task.h"
#include "train/lm_tokenizer.h"
#include "train/session.h"

using namespace seqmill;

namespace {

constexpr const char* kGenerative = "generative";

std::vector<std::string> objectives() {
  std::vector<std::string> names = Registry<align::ObjectiveType>::instance().names();
  names.push_back(kGenerative);
  return names;
}

struct Settings {
  std::string from, objective = "bradley-terry", chat_template = "plain", model_type = "llama";
  std::vector<std::string> aspects{"score"};
  bool checkpointing = false, freeze = false;
  train::SessionOptions session;
  align::ComparisonDataOptions data;
  align::TreeTaskOptions batches;
  align::RewardTaskOptions reward;
  align::JudgeTaskOptions judge;
  std::unique_ptr<align::Objective> scalar;  ///< null: a judge
  std::unique_ptr<model::LmConfig> model;

  Settings() {
    session.trainer.scores = {"loss", "accuracy"};
    session.trainer.optimizer = {"adamw", 0.9, 0.95, 1e-8, 0.1};
    session.trainer.schedule = {"cosine", 1e-5, 0, 20};
  }

  void declare(Options& options) {
    session.declare_run(options);
    options.add("init-from", from, "The language model, or reward model, that it becomes of: ours or Hugging Face's").flag("model").placeholder("MODEL");
    options.group("Objective");
    options.add("objective.type", objective, "What it is trained for; the options below are those of the one chosen").flag("objective").one_of(objectives());
    const std::string chosen = options.preview("objective", options.preview("objective.type", objective));
    const std::vector<std::string> known = objectives();
    const bool is_known = std::find(known.begin(), known.end(), chosen) != known.end();
    if (is_known && chosen != kGenerative) {
      scalar = Registry<align::ObjectiveType>::instance().get(chosen).make();
      scalar->declare(options);
      if (scalar->regresses()) options.add("aspects", aspects, "Which scores of the records it learns, one head each").placeholder("NAME");
      options.add("freeze", freeze, "Train the head alone and leave the language model as it is");
      reward.declare(options);
    } else {
      judge.declare(options);
    }
    data.declare(options);
    batches.declare(options);
    const std::string source = options.preview("model", options.preview("init-from", ""));
    const bool exists = !source.empty() && std::filesystem::exists(source);
    const infer::ModelConfig theirs = exists ? infer::read_model_config(io::find_model(source).config) : infer::ModelConfig();
    if (exists) chat_template = theirs.chat_template;
    options.add("chat.template", chat_template, "How prompts and answers are framed: " + join(text::chat_template_names(), ", ") + ", or a file").placeholder("NAME");
    model = exists ? model::declare_lm(options, model_type, theirs) : model::declare_lm(options, model_type);
    options.add("checkpointing", checkpointing, "Compute each layer again on the way back instead of keeping what it needs: slower by a third, much less memory");
    session.declare_training(options);
  }

  void check() const {
    if (session.run.empty()) fail_usage("missing --run; see --help");
    if (scalar) scalar->check();
    else judge.check();
  }
};

/// What a scalar model and a judge begin with alike.
struct Setting {
  Settings& settings;
  const cli::Invocation& call;
  train::Session& session;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::unique_ptr<text::ChatTemplate> chat;

  bool draws() const { return session.ranks.first() && !session.resumes; }
  std::unique_ptr<model::Lm> build(bool with_weights) const {
    auto lm = settings.model->build(tokenizer->size(), with_weights ? std::optional<uint64_t>(call.seed) : std::nullopt);
    lm->set_checkpointing(settings.checkpointing);
    return lm;
  }
  std::unique_ptr<model::Lm> begin() const {
    const model::LmSize size = settings.model->size(tokenizer->size());
    if (settings.from.empty() && !session.resumes) fail_usage("missing --model, the language model to begin from");
    train::check_training_memory(size, settings.session.trainer.ema > 0, available_memory());
    auto lm = build(draws());
    log::info("{}: {} with {} parameters, {} threads, {}", settings.objective, settings.model_type, lm->parameters().count(), call.threads, settings.session.precision);
    if (draws()) model::initialise_lm_from(settings.from, *lm, *tokenizer);
    return lm;
  }
  void train(train::Task& task) const {
    train::train(task, session.run, settings.session.trainer, call.seed, call.progress && session.ranks.first(), session.ranks, session.begins);
  }
};

void train_scalar(const Setting& setting) {
  Settings& settings = setting.settings;
  const auto heads = static_cast<int64_t>(settings.aspects.size());
  model::Scorer model(setting.begin(), heads);
  if (setting.draws() && model::initialise_head_from(settings.from, model)) log::info("the head is that of {}", settings.from);
  if (settings.freeze) model.freeze_lm();
  model.parameters().to(setting.session.device);
  settings.data.resolve(model.lm().max_positions());
  const text::AnswerFraming framing(*setting.chat, *setting.tokenizer, settings.data.window, true);
  const auto load = [&](bool trains) {
    const std::string what = trains ? "training data" : "validation data";
    const std::vector<std::string>& files = trains ? settings.data.train : settings.data.valid;
    if (settings.scalar->regresses()) return align::frame_graded(files, settings.data.records.skip_bad, settings.aspects, framing, what);
    return align::frame_comparisons(trains ? align::read_training(settings.data, setting.call.seed) : text::read_comparisons(files, settings.data.records), framing, what);
  };
  const auto copy = [&] {
    auto scorer = std::make_unique<model::Scorer>(setting.build(false), heads);
    if (settings.freeze) scorer->freeze_lm();
    return scorer;
  };
  align::ComparisonData train = load(true), valid = load(false);
  const auto task = align::make_reward_task(model, copy, *settings.scalar, settings.aspects, std::move(train), std::move(valid), settings.reward, settings.batches, setting.call.seed,
                                            setting.session.ranks);
  setting.train(*task);
}

void train_judge(const Setting& setting) {
  Settings& settings = setting.settings;
  const std::unique_ptr<model::Lm> model = setting.begin();
  model->parameters().to(setting.session.device);
  settings.data.resolve(model->max_positions());
  const text::Judge judge(settings.judge.judge, *setting.chat, *setting.tokenizer, settings.data.window);
  if (setting.session.ranks.first()) io::write_file(setting.session.run.file(text::kJudgeFile), judge.to_yaml());
  const std::vector<text::Comparison> train = align::read_training(settings.data, setting.call.seed), valid = text::read_comparisons(settings.data.valid, settings.data.records);
  const auto frame = [&](const std::vector<text::Comparison>& comparisons, align::Sides sides, const std::string& what) {
    return settings.judge.stage == 1 ? align::frame_pair_texts(comparisons, judge, what) : align::frame_questions(comparisons, judge, sides, setting.call.seed, what);
  };
  const align::Sides sides = settings.judge.sides == "both" ? align::Sides::kBoth : settings.judge.sides == "given" ? align::Sides::kGiven : align::Sides::kRandom;
  const auto task = align::make_judge_task(*model, [&] { return setting.build(false); }, judge, frame(train, sides, "training data"), frame(valid, align::Sides::kBoth, "validation data"),
                                           settings.judge, settings.batches, setting.call.seed, setting.session.ranks);
  setting.train(*task);
}

void train_in(Settings& settings, const cli::Invocation& call, train::Session& session) {
  Setting setting{settings, call, session, nullptr, nullptr};
  std::string chat_template;
  session.ranks.first_then_others(
      [&] {
        setting.tokenizer = train::prepare_tokenizer({}, settings.from, {}, session.run, call.threads);
        chat_template = train::prepare_chat_template(settings.chat_template, session.run);
      },
      [&] {
        setting.tokenizer = text::load_tokenizer(session.run.path());
        const std::string kept = session.run.file(io::kChatTemplateFile);
        chat_template = std::filesystem::exists(kept) ? kept : settings.chat_template;
      });
  setting.chat = text::make_chat_template(chat_template, *setting.tokenizer);
  settings.scalar ? train_scalar(setting) : train_judge(setting);
}

std::string list_objectives() {
  std::string lines;
  for (const std::string& name : Registry<align::ObjectiveType>::instance().names()) {
    lines += fmt::format("{:<14} {}\n", name, Registry<align::ObjectiveType>::instance().get(name).paper);
  }
  return lines + fmt::format("{:<14} {}\n", kGenerative, "GRAM: A Generative Foundation Reward Model for Reward Generalization, 2025");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "rm-train";
  tool.summary = "trains a reward model on comparisons of answers, or on graded ones: a scalar head, or a judge that names the better answer. Killed or stopped, the same command goes on from the last checkpoint.";
  tool.examples = {"rm-train --model runs/sft --objective bradley-terry --train pairs.jsonl --valid dev.jsonl --run runs/rm --max-epochs 1",
                   "rm-train --model runs/sft --objective generative --objective.stage 1 --train pairs.jsonl --valid dev.jsonl --run runs/stage1 --max-epochs 1\n"
                   "rm-train --model runs/stage1 --objective generative --objective.eps 0.1 --train pairs.jsonl --valid dev.jsonl --run runs/gram --max-epochs 2"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) {
    settings.check();
    train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch},
                       [&](train::Session& session) { train_in(settings, call, session); });
  };
  tool.actions = {{"list-objectives", "The known values of --objective and their papers.", list_objectives}};
  return cli::tool_main(argc, argv, tool);
}
