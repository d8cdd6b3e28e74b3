// nmt-translate: translates lines, or scores given translations.

#include "base/error.h"
#include "base/threads.h"
#include "cli/tool_main.h"
#include "infer/backend.h"
#include "infer/translate_stream.h"

using namespace seqmill;

namespace {

struct Settings {
  std::vector<std::string> models;
  infer::BackendOptions backend;
  infer::TranslatorOptions translator;
  infer::StreamOptions stream;
  search::SearchOptions search;

  void declare(Options& options) {
    options.group("Model");
    options.add("model", models, "Model directory, checkpoint or run; several make an ensemble").placeholder("DIR").required();
    backend.declare(options);
    options.add("batch-tokens", translator.batch_tokens, "Source tokens per batch; changes speed and memory, not the result")
        .range(1);
    options.add("max-source", translator.max_source, "Cut longer sources to this many tokens").range(1);
    stream.declare(options);
    search.declare(options);
  }
};

void check_ensemble(const std::vector<infer::LoadedModel>& members, const std::vector<std::string>& paths) {
  for (size_t i = 1; i < members.size(); ++i) {
    if (!text::same_pieces(*members[0].vocabularies.source, *members[i].vocabularies.source) ||
        !text::same_pieces(*members[0].vocabularies.target, *members[i].vocabularies.target)) {
      fail("{} and {} have different vocabularies and cannot vote together", paths[0], paths[i]);
    }
  }
}

void translate(Settings& settings, const cli::Invocation& call) {
  settings.search.check();
  settings.stream.n_best = settings.search.n_best;
  settings.stream.check();
  if (!settings.stream.score.empty() && settings.search.sample) fail_usage("--score takes given targets; --sample has no effect with it");
  set_threads(call.threads);
  std::vector<infer::LoadedModel> members;
  std::vector<const infer::TranslationModel*> models;
  for (const std::string& path : settings.models) members.push_back(infer::load_translation_model(path, settings.backend, call.threads));
  for (const infer::LoadedModel& member : members) models.push_back(member.model.get());
  check_ensemble(members, settings.models);
  settings.stream.origin = settings.models[0];
  settings.stream.progress = call.progress && !(settings.stream.output == "-" && call.prints_to_terminal);
  infer::Translator translator(models, members[0].vocabularies, settings.search, settings.translator, call.threads, call.seed);
  infer::translate_stream(translator, settings.stream);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "nmt-translate";
  tool.summary = "translates standard input to standard output, one line for one line, or scores given translations.";
  tool.examples = {"nmt-translate --model runs/de-en < test.de > test.hyp",
                   "nmt-translate --model runs/de-en --beam 8 --n-best 8 < test.de > test.jsonl",
                   "nmt-translate --model runs/a --model runs/b --score test.en < test.de > logprobs"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.run = [&](const cli::Invocation& call) { translate(settings, call); };
  return cli::tool_main(argc, argv, tool);
}
