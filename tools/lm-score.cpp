// lm-score: log-probabilities of given responses, and perplexities of texts.

#include "base/error.h"
#include "base/memory.h"
#include "base/signals.h"
#include "base/threads.h"
#include "cli/tool_main.h"
#include "infer/lm_backend.h"
#include "infer/lm_engine.h"
#include "infer/score_stream.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string model, chat;
  infer::BackendOptions backend;
  infer::ScoreStreamOptions stream;

  void declare(Options& options) {
    options.group("Model");
    options.add("model", model, "Model directory, checkpoint, run, or a directory of Hugging Face").placeholder("DIR").required();
    options.add("chat", chat, "Chat template of prompts and responses; default: the model's own").placeholder("TEMPLATE");
    backend.declare(options);
    stream.declare(options);
  }
};

void score(Settings& settings, const cli::Invocation& call) {
  settings.stream.check();
  if (settings.stream.perplexity && !settings.chat.empty()) fail_usage("--chat has no effect with --perplexity: texts are taken as they are");
  infer::check_backend(settings.backend);
  set_threads(call.threads);
  const std::string& precision = settings.backend.precision;
  // Of a type that LibTorch alone knows, nothing can be told before it is loaded.
  const infer::ModelSource source(settings.model);
  const auto tokenizer = text::load_tokenizer(source.files.directory);
  if (settings.backend.device == "cpu" && infer::lm_engine_knows(source.config.type)) {
    infer::check_memory(infer::size_language_model(settings.model, tokenizer), settings.model, precision, {call.threads, settings.stream.batch_tokens, call.threads},
                        available_memory(), "a smaller --batch-tokens or fewer --threads");
  }
  const infer::LoadedLanguageModel model = infer::load_language_model(settings.model, settings.backend, call.threads, tokenizer);
  settings.stream.progress = infer::progress_style(call.quiet, call.progress, settings.stream.output == "-" && call.prints_to_terminal);
  if (settings.stream.perplexity) return infer::perplexity_stream(model, settings.stream, call.threads);
  const auto chat = text::make_chat_template(settings.chat.empty() ? model.chat_template : settings.chat, *model.tokenizer);
  catch_end_signals();
  infer::score_stream(model, *chat, settings.stream, call.threads);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "lm-score";
  tool.summary = "scores given responses to prompts by a language model, or prints the perplexity of a text.";
  tool.examples = {"lm-score --model runs/lm < answers.jsonl > scored.jsonl", "lm-score --model runs/lm --perplexity < wiki.test.txt",
                   "lm-score --model runs/lm --perplexity --json --window 512 --stride 256 --input wiki.test.txt"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.run = [&](const cli::Invocation& call) { score(settings, call); };
  return cli::tool_main(argc, argv, tool);
}
