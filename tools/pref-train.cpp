// pref-train: trains a language model on preferences between answers.

#include "align/preference_task.h"
#include "cli/tool_main.h"
#include "train/lm_start.h"
#include "train/session.h"
#include "train/trainer.h"

using namespace seqmill;

namespace {

struct Settings {
  train::SessionOptions session;
  train::LmStart start;
  align::PreferenceTaskOptions task;
  std::string loss_type = "dpo";
  std::unique_ptr<align::PreferenceLoss> loss;

  Settings() {
    task.batches.batch_tokens = 8192;
    train::TrainerOptions& trainer = session.trainer;
    trainer.scores = {"loss", "accuracy", "margin"};
    trainer.usual_epochs = 1;
    trainer.log_every = 20;
    trainer.optimizer = {"adamw", 0.9, 0.999, 1e-8, 0};
    trainer.schedule = {"cosine", 2e-5, 0, 20};
  }

  void declare(Options& options) {
    session.declare_run(options);
    start.declare_source(options, "The model to train, one that was tuned on answers; it is the reference too. Ours or Hugging Face's", "model");
    start.declare_export(options, "Write what was trained as a directory that Hugging Face's transformers read");
    loss = align::declare_preference_loss(options, loss_type);
    task.declare(options);
    start.declare_chat(options, "How conversations are framed; default: as the model has it");
    start.declare_model(options);
    session.declare_training(options);
  }

  void check() const {
    task.data.check_given(start.init_from, session.run);
  }
};

void train_in(Settings& settings, const cli::Invocation& call, train::Session& session) {
  train::Ranks& ranks = session.ranks;
  const train::LmStart& start = settings.start;
  start.check_export(call.config_yaml, session.resumes);
  const train::LmLanguage language = train::prepare_language(session, start, {}, {}, call.threads);
  const text::Tokenizer& tokenizer = *language.tokenizer;
  const auto frame = text::make_chat_template(language.chat_template, tokenizer);
  const auto model = start.begin(session, settings.session, tokenizer, call.seed, call.threads);
  const bool progress = call.progress && ranks.first();
  const align::ReferenceModel reference{start.init_from, call.config_yaml, session.resumes, [&] { return start.draw(tokenizer, call.seed); }};
  const align::PreferenceSetting setting{*model,
                                         [&] { return start.build(tokenizer.size(), std::nullopt); },
                                         tokenizer,
                                         *frame,
                                         *settings.loss,
                                         reference,
                                         session.run.path(),
                                         call.seed,
                                         progress};
  const auto task = align::make_preference_task(setting, settings.task, ranks);
  train::train(*task, session.run, settings.session.trainer, call.seed, progress, ranks, session.begins);
  if (ranks.first()) start.export_model(session.run.path(), session.resumes);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "pref-train";
  tool.summary =
      "trains a language model on pairs of answers, one of which is preferred. Killed or stopped, the same command goes on from the last checkpoint.";
  tool.examples = {
      "pref-train --model runs/sft --train pairs.jsonl --valid dev.jsonl --loss dpo --run runs/dpo",
      "pref-train --model TinyLlama --train pairs.jsonl --valid dev.jsonl --loss simpo --loss.gamma 0.5 \\\n"
      "      --lora.rank 8 --learning-rate 1e-4 --run runs/simpo --export-hf simpo-hf"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) {
    settings.check();
    train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch},
                       [&](train::Session& session) { train_in(settings, call, session); });
  };
  tool.actions = {{"list-losses", "The known values of --loss and their papers.", align::list_preference_losses},
                  {"list-models", "The known values of model.type and their papers.", model::list_lms}};
  return cli::tool_main(argc, argv, tool);
}
