// rm-train: trains a reward model.

#include "align/reward_training.h"
#include "cli/tool_main.h"
#include "train/lm_start.h"
#include "train/session.h"

using namespace seqmill;

namespace {

struct Settings {
  train::SessionOptions session;
  train::LmStart start;
  align::RewardTraining training;

  Settings() {
    session.trainer.optimizer = {"adamw", 0.9, 0.95, 1e-8, 0.1};
    session.trainer.schedule = {"cosine", 1e-5, 0, 20};
    session.trainer.log_every = 20;
    session.trainer.usual_epochs = 1;
  }

  void declare(Options& options) {
    session.declare_run(options);
    start.declare_source(options, "The language model, or reward model, that it becomes of: ours or Hugging Face's", "model");
    start.declare_export(options, "Write what was trained as a directory that Hugging Face's transformers read");
    if (start.source()) training.inherit(*start.source());
    training.declare(options, start.source_directory());
    session.trainer.scores = training.scores();
    start.declare_chat(options, "How prompts and answers are framed; default: as the model has it");
    start.declare_model(options);
    session.declare_training(options);
  }

  void check() const {
    training.data.check_given(start.init_from, session.run);
    training.check();
  }
};

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "rm-train";
  tool.summary =
      "trains a reward model on comparisons of answers, or on graded ones: a scalar head, or a judge that names the better answer. Killed or stopped, the same command goes on from the last "
      "checkpoint.";
  tool.examples = {"rm-train --model runs/sft --objective bradley-terry --train pairs.jsonl --valid dev.jsonl --run runs/rm --max-epochs 1",
                   "rm-train --model runs/sft --objective generative --objective.stage 1 --train pairs.jsonl --valid dev.jsonl \\\n"
                   "      --run runs/stage1 --max-epochs 1",
                   "rm-train --model runs/stage1 --objective generative --objective.eps 0.1 --train pairs.jsonl --valid dev.jsonl \\\n"
                   "      --run runs/gram --max-epochs 2"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) {
    settings.check();
    train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch}, [&](train::Session& session) {
      align::train_reward_model(settings.training, {settings.start, settings.session, call.seed, call.threads, call.progress && session.ranks.first(), call.config_yaml}, session);
    });
  };
  tool.actions = {{"list-objectives", "The known values of --objective and their papers.", align::list_objectives},
                  {"list-models", "The known values of model.type and their papers.", model::list_lms}};
  return cli::tool_main(argc, argv, tool);
}
