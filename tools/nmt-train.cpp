// nmt-train: trains a translation model.

#include "base/log.h"
#include "cli/tool_main.h"
#include "metric/bleu.h"
#include "model/load.h"
#include "train/session.h"
#include "train/trainer.h"
#include "train/translation_task.h"
#include "train/vocabularies.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string init_from, model_type = "transformer";
  train::SessionOptions session;
  train::TranslationTaskOptions data;
  train::VocabularyOptions vocabulary;
  std::unique_ptr<model::Seq2SeqConfig> model;

  void declare(Options& options) {
    session.declare_run(options);
    options.find("run")->required();
    options.add("init-from", init_from, "Start from the weights of this model, as far as they fit").placeholder("MODEL");
    data.declare(options);
    vocabulary.declare(options);
    model = model::declare_seq2seq(options, model_type);
    session.declare_training(options);
  }
};

void train_in(Settings& settings, const cli::Invocation& call, train::Session& session) {
  train::Ranks& ranks = session.ranks;
  infer::Vocabularies vocabularies;
  ranks.first_then_others(
      [&] {
        vocabularies = train::prepare_vocabularies(settings.vocabulary, settings.data.train_source, settings.data.train_target,
                                                   session.run, call.threads);
      },
      [&] { vocabularies = infer::load_vocabularies(session.run.path()); });
  const auto model = settings.model->build(vocabularies.sizes(), call.seed);
  log::info("{} with {} parameters, {} threads, {}", settings.model_type, model->parameters().count(), call.threads,
            settings.session.precision);
  // The others get their weights from rank 0 when training begins.
  if (!settings.init_from.empty() && !session.resumes && ranks.first()) model::initialise_from(settings.init_from, *model, vocabularies);
  model->parameters().to(session.device);
  const auto bleu = [](const std::vector<std::string>& hypotheses, const std::vector<std::string>& references) {
    return metric::corpus_score(*metric::make_bleu({}), hypotheses, {references});
  };
  const auto copy = [&] { return settings.model->build(vocabularies.sizes(), std::nullopt); };
  const auto task = train::make_translation_task(*model, copy, vocabularies, settings.data, session.run.file("cache"), call.threads,
                                                 call.seed, bleu, ranks);
  train::train(*task, session.run, settings.session.trainer, call.seed, call.progress && ranks.first(), ranks, session.begins);
}

void train_model(Settings& settings, const cli::Invocation& call) {
  if (settings.session.trainer.stop_on == "bleu") settings.data.valid_bleu = true;
  train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch},
                     [&](train::Session& session) { train_in(settings, call, session); });
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "nmt-train";
  tool.summary =
      "trains a translation model on parallel text. Killed or stopped, the same command goes on from the last checkpoint.";
  tool.examples = {
      "nmt-train --train-src train.de --train-tgt train.en --valid-src dev.de --valid-tgt dev.en \\\n"
      "      --vocab-size 8000 --run runs/de-en --model.dim 256 --model.ffn 1024 --max-updates 20000",
      "nmt-train -c runs/de-en/config.yaml --run runs/de-en-2 --seed 2",
      "nmt-train -c runs/de-en/config.yaml --resume must --max-updates 40000"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) { train_model(settings, call); };
  tool.actions = {{"list-models", "The known values of model.type and their papers.", model::list_seq2seq_models}};
  return cli::tool_main(argc, argv, tool);
}
