// lm-generate: prompts through a language model.

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "base/signals.h"
#include "base/strings.h"
#include "base/threads.h"
#include "cli/tool_main.h"
#include "infer/generate_stream.h"
#include "infer/lm_backend.h"
#include "infer/lm_engine.h"
#include "io/output.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string model, chat;
  bool describe = false;
  infer::BackendOptions backend;
  infer::GeneratorOptions generation;
  infer::GenerateStreamOptions stream;

  void declare(Options& options) {
    options.group("Model");
    options.add("model", model, "Model directory, checkpoint, run, or a directory of Hugging Face").placeholder("DIR").required();
    options.add("chat", chat, "Chat template: " + join(text::chat_template_names(), ", ") + " or a file; default: the model's own").placeholder("TEMPLATE");
    backend.declare(options);
    options.add("describe", describe, "Print what the model is and takes, without loading it").transient();
    stream.declare(options);
    generation.declare(options);
  }
};

void generate(Settings& settings, const cli::Invocation& call) {
  settings.generation.check();
  settings.stream.check();
  infer::check_backend(settings.backend);
  set_threads(call.threads);
  const std::string& precision = settings.backend.precision;
  const int64_t workers = settings.stream.stream ? 1 : call.threads;
  const infer::SequenceLoad load{workers * std::max(settings.generation.batch, settings.generation.beam), settings.generation.max_new_tokens + 1, workers};
  // Of a type that LibTorch alone knows, nothing can be told before it is loaded.
  const infer::ModelSource source(settings.model);
  const std::string& type = source.config.type;
  const bool is_known = infer::lm_engine_knows(type);
  const auto tokenizer = text::load_tokenizer(source.files.directory);
  infer::LanguageModelSize size;
  if (is_known) size = infer::size_language_model(settings.model, tokenizer);
  if (settings.describe) {
    if (!is_known) fail_usage("--describe knows the models of the engine; {} is of the type '{}'", settings.model, type);
    io::Output output(settings.stream.output);
    output.write(infer::describe(size, settings.model, precision, load, available_memory()));
    return output.close();
  }
  if (settings.backend.device == "cpu" && is_known) {
    infer::check_memory(size, settings.model, precision, load, available_memory(), "a smaller --batch or fewer --threads");
    settings.stream.check_length = [&](int64_t tokens) { infer::check_sequence_memory(size, precision, tokens, available_memory()); };
  }
  const infer::LoadedLanguageModel model = infer::load_language_model(settings.model, settings.backend, call.threads, tokenizer);
  const auto chat = text::make_chat_template(settings.chat.empty() ? model.chat_template : settings.chat, *model.tokenizer);
  settings.stream.origin = settings.model;
  settings.stream.progress = infer::progress_style(call.quiet, call.progress, settings.stream.output == "-" && call.prints_to_terminal);
  Options backend;
  settings.backend.declare(backend);
  for (const auto& option : backend.all()) settings.stream.computed_by.emplace_back(option->key(), join(option->values(), " "));
  catch_end_signals();
  infer::generate_stream(model, *chat, settings.generation, settings.stream, call.threads, call.seed);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "lm-generate";
  tool.summary = "continues prompts, one record of hypotheses for one record of a prompt, in input order.";
  tool.examples = {"lm-generate --model runs/lm --samples 4 --temperature 0.8 --top-p 0.95 < prompts.jsonl > hypotheses.jsonl",
                   "echo 'Once upon a time' | lm-generate --model runs/lm --format text --stream --max-new-tokens 100",
                   "lm-generate --model runs/lm --input prompts.jsonl --output hypotheses.jsonl --resume"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.run = [&](const cli::Invocation& call) { generate(settings, call); };
  return cli::tool_main(argc, argv, tool);
}
