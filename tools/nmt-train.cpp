// nmt-train: trains a translation model.

#include "base/error.h"
#include "base/log.h"
#include "cli/tool_main.h"
#include "metric/bleu.h"
#include "model/load.h"
#include "tensor/runtime.h"
#include "train/run_record.h"
#include "train/trainer.h"
#include "train/translation_task.h"
#include "train/vocabularies.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string run, init_from, model_type = "transformer", device = "cpu", precision = "auto";
  train::TranslationTaskOptions data;
  train::VocabularyOptions vocabulary;
  train::TrainerOptions trainer;
  std::unique_ptr<model::Seq2SeqConfig> model;

  void declare(Options& options) {
    options.group("Run");
    options.add("run", run, "Directory of the run; made when missing, gone on with when it holds checkpoints")
        .placeholder("DIR")
        .required();
    options.add("init-from", init_from, "Start from the weights of this model, as far as they fit").placeholder("MODEL");
    options.add("device", device, "Where to compute: cpu, cuda or cuda:N");
    options.add("precision", precision, "Products of training: bf16 where the CPU has it, fp32, bf16")
        .one_of({"auto", "fp32", "bf16"});
    data.declare(options);
    vocabulary.declare(options);
    model = model::declare_seq2seq(options, model_type);
    trainer.declare(options);
  }
};

void train_model(Settings& settings, const cli::Invocation& call) {
  settings.trainer.check();
  const at::Device device = tensor::parse_device(settings.device);
  if (settings.trainer.stop_on == "bleu") settings.data.valid_bleu = true;
  tensor::set_up_runtime(call.threads);
  tensor::set_precision(tensor::parse_precision(settings.precision));
  io::RunDir run(settings.run);
  train::RunRecord record(run, call.config_yaml, call.command_line, call.host, call.started);
  try {
    const bool resumes = train::will_resume(run, settings.trainer.resume);
    const model::Vocabularies vocabularies = train::prepare_vocabularies(
        settings.vocabulary, settings.data.train_source, settings.data.train_target, run, call.threads);
    const auto model = settings.model->build(vocabularies.sizes(), call.seed);
    log::info("{} with {} parameters, {} threads, {}", settings.model_type, model->parameters().count(), call.threads,
              settings.precision);
    if (!settings.init_from.empty() && !resumes) model::initialise_from(settings.init_from, *model, vocabularies);
    model->parameters().to(device);
    const auto bleu = [](const std::vector<std::string>& hypotheses, const std::vector<std::string>& references) {
      return metric::corpus_score(*metric::make_bleu({}), hypotheses, {references});
    };
    const auto task = train::make_translation_task(*model, vocabularies, settings.data, run.file("cache"), call.threads,
                                                   call.seed, bleu);
    train::train(*task, run, settings.trainer, call.seed, call.progress, [&] { record.write_config(); });
    record.finish(kExitDone);
  } catch (const Error& error) {
    record.finish(error.exit_code());
    throw;
  } catch (...) {
    record.finish(kExitFailure);
    throw;
  }
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
  tool.resolve = [&] { settings.precision = tensor::name_of(tensor::parse_precision(settings.precision)); };
  tool.run = [&](const cli::Invocation& call) { train_model(settings, call); };
  tool.actions = {{"list-models", "The known values of model.type and their papers.", model::list_seq2seq_models}};
  return cli::tool_main(argc, argv, tool);
}
