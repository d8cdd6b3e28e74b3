// esrl-rl: trains a model on rewards of its own outputs.

#include "cli/tool_main.h"
#include "rl/rl_training.h"
#include "train/session.h"

using namespace seqmill;

namespace {

struct Settings {
  train::SessionOptions session;
  rl::RlTraining training;

  Settings() {
    session.trainer.optimizer = {"adam", 0.9, 0.98, 1e-8, 0};
    session.trainer.schedule = {"constant", 1e-5, 0, 0};
    session.trainer.log_every = 10;
    session.trainer.save_every = 100;
  }

  void declare(Options& options) {
    session.declare_run(options);
    training.declare(options);
    session.trainer.scores = training.scores();
    session.declare_training(options);
  }
};

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "esrl-rl";
  tool.summary =
      "trains a translation model or a language model on rewards of what it writes: candidates are drawn by the inference engine with the weights of the moment, judged, and learned of in one "
      "packed pass. Killed or stopped, the same command goes on from the last checkpoint.";
  tool.examples = {
      "esrl-rl --model runs/de-en --reward bleu --train-src train.de --train-tgt train.en --valid-src dev.de --valid-tgt dev.en \\\n"
      "      --run runs/esrl --learning-rate 2e-5 --max-updates 500",
      "esrl-rl --model runs/sft --algorithm ppo --reward model:runs/rm --kl.weight 0.1 --train prompts.jsonl --valid dev.jsonl \\\n"
      "      --run runs/ppo --max-updates 200"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.runs_in_ranks = true;
  tool.resolve = [&](const Launch& launch) { settings.session.resolve(launch); };
  tool.run = [&](const cli::Invocation& call) {
    settings.training.check(settings.session, call.launch.ranks);
    train::run_session(settings.session, {call.config_yaml, call.command_line, call.host, call.started, call.threads, call.launch}, [&](train::Session& session) {
      rl::train_policy(settings.training, {settings.session, call.seed, call.threads, call.progress && session.ranks.first(), call.config_yaml}, session);
    });
  };
  tool.actions = {{"list-algorithms", "The known values of --algorithm and their papers.", rl::list_algorithms},
                  {"list-rewards", "The known rewards and what they are.", rl::list_rewards}};
  return cli::tool_main(argc, argv, tool);
}
