// lm-train: trains a language model.

#include "base/error.h"
#include "base/strings.h"
#include "cli/tool_main.h"
#include "train/lm_start.h"
#include "train/lm_task.h"
#include "train/session.h"
#include "train/trainer.h"

using namespace seqmill;

namespace {

struct Settings {
  train::SessionOptions session;
  train::LmStart start;
  train::LmTaskOptions data;
  train::TokenizerOptions tokenizer;

  Settings() {
    train::TrainerOptions& trainer = session.trainer;
    trainer.scores = {"loss"};
    trainer.optimizer = {"adamw", 0.9, 0.95, 1e-8, 0.1};
    trainer.schedule = {"cosine", 5e-4, 0, 100};
  }

  void declare(Options& options) {
    session.declare_run(options);
    start.declare_source(options, "Start from this model: its weights, its tokeniser, and its options as defaults of model.* and lora.*; ours or Hugging Face's");
    start.declare_export(options, "Write what was trained (without --train: the model of --init-from) as a directory that Hugging Face's transformers read");
    data.declare(options);
    start.declare_chat(options, "chat: how conversations are framed");
    tokenizer.declare(options);
    start.declare_model(options);
    session.declare_training(options);
  }

  bool converts_only() const { return start.exports() && data.train.empty(); }

  void check() const {
    std::vector<std::string> missing;
    if (session.run.empty()) missing.push_back("--run");
    if (data.train.empty()) missing.push_back("--train");
    if (data.valid.empty()) missing.push_back("--valid");
    if (!missing.empty()) fail_usage("missing {}; see --help", join(missing, ", "));
  }
};

void train_in(Settings& settings, const cli::Invocation& call, train::Session& session) {
  train::Ranks& ranks = session.ranks;
  const train::LmStart& start = settings.start;
  start.check_export(call.config_yaml, session.resumes);
  const train::TokenizerText text{settings.data.train, settings.data.format, settings.data.text_field};
  const train::LmLanguage language = train::prepare_language(session, start, settings.tokenizer, text, call.threads);
  const text::Tokenizer& tokenizer = *language.tokenizer;
  const auto frame = settings.data.format == "chat" ? text::make_chat_template(language.chat_template, tokenizer) : nullptr;
  const auto model = start.begin(session, settings.session, tokenizer, call.seed, call.threads);
  const bool progress = call.progress && ranks.first();
  const auto task = train::make_lm_task(*model, [&] { return start.build(tokenizer.size(), std::nullopt); }, tokenizer, frame.get(), settings.data,
                                        session.run.file("cache"), call.seed, progress, ranks);
  train::train(*task, session.run, settings.session.trainer, call.seed, progress, ranks, session.begins);
  if (ranks.first()) start.export_model(session.run.path(), session.resumes);
}

void train_model(Settings& settings, const cli::Invocation& call) {
  if (settings.converts_only()) {
    if (!settings.session.run.empty() || !settings.data.valid.empty()) fail_usage("--run and --valid have no effect without --train: --export-hf alone converts the model of --init-from");
    if (settings.start.init_from.empty()) fail_usage("--export-hf without --train needs --init-from, the model to convert");
    return settings.start.export_model(settings.start.init_from);
  }
  settings.check();
  train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch},
                     [&](train::Session& session) { train_in(settings, call, session); });
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "lm-train";
  tool.summary =
      "trains a language model on text, or tunes one on instructions. Killed or stopped, the same command goes on from the last checkpoint.";
  tool.examples = {
      "lm-train --train wiki.train.txt --valid wiki.valid.txt --vocab-size 8000 --run runs/wiki \\\n"
      "      --model.dim 256 --model.ffn 688 --model.heads 4 --max-updates 5000",
      "lm-train --init-from TinyLlama --format chat --chat.template alpaca --train chats.jsonl --valid dev.jsonl \\\n"
      "      --lora.rank 8 --run runs/tuned --max-updates 500 --export-hf tuned-hf",
      "lm-train --init-from runs/wiki --export-hf wiki-hf"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) { train_model(settings, call); };
  tool.actions = {{"list-models", "The known values of model.type and their papers.", model::list_lms}};
  return cli::tool_main(argc, argv, tool);
}
