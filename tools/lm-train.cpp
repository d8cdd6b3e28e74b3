// lm-train: trains a language model.

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "cli/tool_main.h"
#include "io/run_dir.h"
#include "model/hf_export.h"
#include "model/lm_load.h"
#include "train/lm_task.h"
#include "train/lm_tokenizer.h"
#include "train/session.h"
#include "train/trainer.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string init_from, export_to, export_type = "f32", chat_template = "plain", model_type = "llama";
  bool checkpointing = false;
  train::SessionOptions session;
  train::LmTaskOptions data;
  train::TokenizerOptions tokenizer;
  std::unique_ptr<model::LmConfig> model;

  Settings() {
    train::TrainerOptions& trainer = session.trainer;
    trainer.scores = {"loss"};
    trainer.optimizer = {"adamw", 0.9, 0.95, 1e-8, 0.1};
    trainer.schedule = {"cosine", 5e-4, 0, 100};
  }

  void declare(Options& options) {
    session.declare_run(options);
    options.add("init-from", init_from, "Start from this model: its weights, its tokeniser, and its options as defaults of model.* and lora.*; ours or Hugging Face's")
        .placeholder("MODEL");
    options.add("export-hf", export_to, "Write what was trained (without --train: the model of --init-from) as a directory that Hugging Face's transformers read")
        .placeholder("DIR")
        .transient();
    options.add("export-dtype", export_type, "Numbers of what is exported").one_of({"f32", "bf16"}).transient();
    data.declare(options);
    // A run that goes on has all of it in its configuration, whatever became of the model that it began with.
    const std::string source = options.preview("init-from", "");
    const bool begins_from_another = !source.empty() && std::filesystem::exists(source);
    const infer::ModelConfig theirs = begins_from_another ? infer::read_model_config(io::find_model(source).config) : infer::ModelConfig();
    if (begins_from_another) chat_template = theirs.chat_template;
    options.add("chat.template", chat_template, "chat: how conversations are framed: " + join(text::chat_template_names(), ", ") + ", or a file")
        .placeholder("NAME");
    tokenizer.declare(options);
    model = begins_from_another ? model::declare_lm(options, model_type, theirs) : model::declare_lm(options, model_type);
    options.add("checkpointing", checkpointing, "Compute each layer again on the way back instead of keeping what it needs: slower by a third, much less memory");
    session.declare_training(options);
  }

  bool converts_only() const { return !export_to.empty() && data.train.empty(); }

  void check() const {
    std::vector<std::string> missing;
    if (session.run.empty()) missing.push_back("--run");
    if (data.train.empty()) missing.push_back("--train");
    if (data.valid.empty()) missing.push_back("--valid");
    if (!missing.empty()) fail_usage("missing {}; see --help", join(missing, ", "));
  }
};

/// What would stop the export is said before hours of training. A run that goes on may have exported already.
void check_export(const Settings& settings, const cli::Invocation& call, bool resumes) {
  if (settings.export_to.empty()) return;
  if (!resumes && std::filesystem::exists(settings.export_to)) fail_usage("--export-hf {}: it exists already", settings.export_to);
  model::check_exportable(infer::model_config_of(io::parse_yaml(call.config_yaml, "configuration"), "configuration"));
}

void export_model(const Settings& settings, const std::string& run, bool resumes) {
  if (settings.export_to.empty()) return;
  if (resumes && std::filesystem::exists(settings.export_to)) return log::warn("--export-hf {}: it exists already and is left as it is", settings.export_to);
  model::export_hf(run, settings.export_to, settings.export_type);
}

void check_model(const Settings& settings, const model::LmSize& size, bool resumes) {
  if (size.fixed > 0 && settings.init_from.empty() && !resumes) fail_usage("--lora.rank trains adapters of a model that is there: give it by --init-from");
  train::check_training_memory(size, settings.session.trainer.ema > 0, available_memory());
}

void train_in(Settings& settings, const cli::Invocation& call, train::Session& session) {
  train::Ranks& ranks = session.ranks;
  check_export(settings, call, session.resumes);
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::string chat_template;
  ranks.first_then_others(
      [&] {
        const train::TokenizerText text{settings.data.train, settings.data.format, settings.data.text_field};
        tokenizer = train::prepare_tokenizer(settings.tokenizer, settings.init_from, text, session.run, call.threads);
        chat_template = train::prepare_chat_template(settings.chat_template, session.run);
      },
      [&] {
        tokenizer = text::load_tokenizer(session.run.path());
        const std::string kept = session.run.file(io::kChatTemplateFile);
        chat_template = std::filesystem::exists(kept) ? kept : settings.chat_template;
      });
  const auto frame = settings.data.format == "chat" ? text::make_chat_template(chat_template, *tokenizer) : nullptr;
  const auto build = [&](std::optional<uint64_t> seed) {
    auto model = settings.model->build(tokenizer->size(), seed);
    model->set_checkpointing(settings.checkpointing);
    return model;
  };
  check_model(settings, settings.model->size(tokenizer->size()), session.resumes);
  // A run that goes on has its weights from the checkpoint, other ranks from the first.
  const bool draws = ranks.first() && !session.resumes;
  const auto model = build(draws ? std::optional<uint64_t>(call.seed) : std::nullopt);
  log::info("{} with {} parameters, {} tokens in its vocabulary, {} threads, {}", settings.model_type, model->parameters().count(), tokenizer->size(),
            call.threads, settings.session.precision);
  // The others get their weights from rank 0 when training begins.
  if (!settings.init_from.empty() && !session.resumes && ranks.first()) model::initialise_lm_from(settings.init_from, *model, *tokenizer);
  model->parameters().to(session.device);
  const bool progress = call.progress && ranks.first();
  const auto task = train::make_lm_task(*model, [&] { return build(std::nullopt); }, *tokenizer, frame.get(), settings.data, session.run.file("cache"),
                                        call.seed, progress, ranks);
  train::train(*task, session.run, settings.session.trainer, call.seed, progress, ranks, session.begins);
  if (ranks.first()) export_model(settings, session.run.path(), session.resumes);
}

void train_model(Settings& settings, const cli::Invocation& call) {
  if (settings.converts_only()) {
    if (!settings.session.run.empty() || !settings.data.valid.empty()) fail_usage("--run and --valid have no effect without --train: --export-hf alone converts the model of --init-from");
    if (settings.init_from.empty()) fail_usage("--export-hf without --train needs --init-from, the model to convert");
    return model::export_hf(settings.init_from, settings.export_to, settings.export_type);
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
