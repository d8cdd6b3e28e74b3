// rm-score: scores of answers by reward models and judges, the best of several, and how often a model agrees with preferences.

#include "base/signals.h"
#include "base/threads.h"
#include "cli/tool_main.h"
#include "reward/reward_model.h"
#include "reward/score_options.h"

using namespace seqmill;

namespace {

struct Settings {
  reward::RewardModelOptions model;
  reward::ScoreOptions scores;

  void declare(Options& options) {
    options.group("Model");
    model.declare(options);
    scores.declare(options);
  }
};

void score(Settings& settings, const cli::Invocation& call) {
  settings.scores.check();
  set_threads(call.threads);
  const auto model = reward::load_reward_model(settings.model, call.threads);
  settings.scores.progress = infer::progress_style(call.quiet, call.progress, settings.scores.output == "-" && call.prints_to_terminal);
  catch_end_signals();
  const int64_t batch_tokens = settings.model.asking.batch_tokens;
  if (settings.scores.pairs) return reward::score_pairs(*model, settings.scores, batch_tokens, call.seed, call.threads);
  if (settings.scores.correlate) return reward::correlate_scores(*model, settings.scores, batch_tokens, call.threads);
  if (!settings.scores.best_of.empty()) return reward::score_best_of(*model, settings.scores, batch_tokens, call.seed, call.threads);
  reward::score_records(*model, settings.scores, batch_tokens, call.threads);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "rm-score";
  tool.summary = "scores answers to prompts by a reward model or a judge, and translations by a learned metric, chooses the best of several, or tells how often it agrees with given preferences.";
  tool.examples = {"rm-score --model runs/rm < answers.jsonl > scored.jsonl", "rm-score --model runs/rm --pairs --json < pairs.jsonl",
                   "lm-generate --model runs/sft --samples 16 < prompts.jsonl | rm-score --model runs/rm --best-of-n > best.jsonl"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.run = [&](const cli::Invocation& call) { score(settings, call); };
  return cli::tool_main(argc, argv, tool);
}
