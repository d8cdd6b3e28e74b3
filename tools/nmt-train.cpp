// nmt-train: trains a translation model.

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/tool_main.h"
#include "metric/bleu.h"
#include "model/load.h"
#include "tensor/runtime.h"
#include "train/ranks.h"
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
  train::RanksOptions ranks;
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
    ranks.declare(options);
  }
};

void train_in(Settings& settings, const cli::Invocation& call, at::Device device, train::Ranks& ranks, io::RunDir& run,
              const std::function<void()>& begins) {
  const bool resumes = ranks.from_first(ranks.first() && train::will_resume(run, settings.trainer.resume) ? 1 : 0) > 0;
  infer::Vocabularies vocabularies;
  ranks.first_then_others(
      [&] {
        vocabularies = train::prepare_vocabularies(settings.vocabulary, settings.data.train_source, settings.data.train_target, run,
                                                   call.threads);
      },
      [&] { vocabularies = infer::load_vocabularies(run.path()); });
  const auto model = settings.model->build(vocabularies.sizes(), call.seed);
  log::info("{} with {} parameters, {} threads, {}", settings.model_type, model->parameters().count(), call.threads,
            settings.precision);
  // The others get their weights from rank 0 when training begins.
  if (!settings.init_from.empty() && !resumes && ranks.first()) model::initialise_from(settings.init_from, *model, vocabularies);
  model->parameters().to(device);
  const auto bleu = [](const std::vector<std::string>& hypotheses, const std::vector<std::string>& references) {
    return metric::corpus_score(*metric::make_bleu({}), hypotheses, {references});
  };
  const auto copy = [&] { return settings.model->build(vocabularies.sizes(), std::nullopt); };
  const auto task = train::make_translation_task(*model, copy, vocabularies, settings.data, run.file("cache"), call.threads, call.seed,
                                                 bleu, ranks);
  train::train(*task, run, settings.trainer, call.seed, call.progress && ranks.first(), ranks, begins);
}

/// Ranks may have other numbers of threads, and nothing else.
std::string without_threads(const std::string& config_yaml) {
  std::string kept;
  for (const std::string& line : split(config_yaml, '\n')) {
    if (!starts_with(line, "threads:")) kept += line + "\n";
  }
  return kept;
}

/// Rank 0 holds the run directory and records what happens in it.
void lead(Settings& settings, const cli::Invocation& call, at::Device device, train::Ranks& ranks) {
  io::RunDir run(settings.run);
  train::RunRecord record(run, call.config_yaml, call.command_line, call.host, call.started);
  ranks.barrier();
  try {
    train_in(settings, call, device, ranks, run, [&] { record.write_config(); });
    record.finish(kExitDone);
  } catch (const Error& error) {
    record.finish(error.exit_code());
    throw;
  } catch (...) {
    record.finish(kExitFailure);
    throw;
  }
}

void train_model(Settings& settings, const cli::Invocation& call) {
  settings.trainer.check(call.launch.ranks);
  // Ranks of one machine take a GPU each.
  const bool shares = settings.device == "cuda" && call.launch.ranks > 1 && tensor::count_gpus() > 0;
  const at::Device device = tensor::parse_device(
      shares ? fmt::format("cuda:{}", call.launch.local_rank % tensor::count_gpus()) : settings.device);
  if (settings.trainer.stop_on == "bleu") settings.data.valid_bleu = true;
  tensor::share_one_heap();
  tensor::set_up_runtime(call.threads);
  tensor::set_precision(tensor::parse_precision(settings.precision));
  train::run_in_ranks(call.launch, settings.ranks, device, [&](train::Ranks& ranks) {
    ranks.expect_same("configuration", without_threads(call.config_yaml));
    if (ranks.first()) return lead(settings, call, device, ranks);
    ranks.barrier();
    io::RunDir run(settings.run, io::RunDir::Role::kReader);
    train_in(settings, call, device, ranks, run, [] {});
  });
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
  tool.resolve = [&](const Launch& launch) {
    settings.precision = tensor::name_of(tensor::parse_precision(settings.precision));
    if (settings.trainer.accumulate == 0) settings.trainer.accumulate = launch.ranks;
  };
  tool.run = [&](const cli::Invocation& call) { train_model(settings, call); };
  tool.actions = {{"list-models", "The known values of model.type and their papers.", model::list_seq2seq_models}};
  return cli::tool_main(argc, argv, tool);
}
