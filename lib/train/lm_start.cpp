#include "train/lm_start.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "io/run_dir.h"
#include "io/yaml.h"
#include "model/hf_export.h"
#include "model/lm_load.h"
#include "train/lm_task.h"

namespace seqmill::train {

namespace fs = std::filesystem;

void LmStart::declare_source(Options& options, const std::string& help, const std::string& flag) {
  flag_ = flag;
  options.add("init-from", init_from, help).placeholder("MODEL").flag(flag);
  // A flag comes before what a configuration says.
  const std::string source = options.preview(flag, options.preview("init-from", ""));
  if (source.empty() || !fs::exists(source)) return;
  const io::ModelFiles files = io::find_model(source);
  source_ = infer::read_model_config(files.config);
  source_directory_ = files.directory;
  chat_template = source_->chat_template;
}

void LmStart::declare_export(Options& options, const std::string& help) {
  options.add("export-hf", export_to_, help).placeholder("DIR").transient();
  options.add("export-dtype", export_type_, "Numbers of what is exported").one_of({"f32", "bf16"}).transient();
}

void LmStart::declare_chat(Options& options, const std::string& help) {
  options.add("chat.template", chat_template, fmt::format("{}: {}, or a file", help, join(text::chat_template_names(), ", "))).placeholder("NAME");
}

void LmStart::declare_model(Options& options) {
  model_ = source_ ? model::declare_lm(options, model_type_, *source_) : model::declare_lm(options, model_type_);
  options.add("checkpointing", checkpointing_, "Compute each layer again on the way back instead of keeping what it needs: slower by a third, much less memory");
}

void LmStart::check_export(const std::string& config_yaml, bool resumes) const {
  if (!exports()) return;
  if (!resumes && fs::exists(export_to_)) fail_usage("--export-hf {}: it exists already", export_to_);
  model::check_exportable(infer::model_config_of(io::parse_yaml(config_yaml, "configuration"), "configuration"));
}

void LmStart::export_model(const std::string& path, bool resumes) const {
  if (!exports()) return;
  if (resumes && fs::exists(export_to_)) return log::warn("--export-hf {}: it exists already and is left as it is", export_to_);
  model::export_hf(path, export_to_, export_type_);
}

std::unique_ptr<model::Lm> LmStart::build(int64_t vocabulary, std::optional<uint64_t> seed) const {
  auto model = model_->build(vocabulary, seed);
  model->set_checkpointing(checkpointing_);
  return model;
}

std::unique_ptr<model::Lm> LmStart::draw(const text::Tokenizer& tokenizer, uint64_t seed) const {
  auto model = build(tokenizer.size(), seed);
  if (!init_from.empty()) model::initialise_lm_from(init_from, *model, tokenizer, "--" + flag_);
  return model;
}

void LmStart::check_size(const model::LmSize& size, bool averages, bool resumes) const {
  if (size.fixed > 0 && init_from.empty() && !resumes) fail_usage("--lora.rank trains adapters of a model that is there: give it by --{}", flag_);
  check_training_memory(size, averages, available_memory());
}

std::unique_ptr<model::Lm> LmStart::begin(const Session& session, const SessionOptions& options, const text::Tokenizer& tokenizer, uint64_t seed, int threads,
                                          bool predicts) const {
  check_size(model_->size(tokenizer.size()), options.trainer.ema > 0, session.resumes);
  auto model = session.ranks.first() && !session.resumes ? draw(tokenizer, seed) : build(tokenizer.size(), std::nullopt);
  if (predicts) model->check_predicts();
  log::info("{} with {} parameters, {} tokens in its vocabulary, {} threads, {}", model_type_, model->parameters().count(), tokenizer.size(), threads,
            options.precision);
  model->parameters().to(session.device);
  return model;
}

LmLanguage prepare_language(const Session& session, const LmStart& start, const TokenizerOptions& options, const TokenizerText& text, int threads) {
  LmLanguage language;
  session.ranks.first_then_others(
      [&] {
        language.tokenizer = prepare_tokenizer(options, start.init_from, text, session.run, threads);
        language.chat_template = prepare_chat_template(start.chat_template, session.run);
      },
      [&] {
        language.tokenizer = text::load_tokenizer(session.run.path());
        const std::string kept = session.run.file(io::kChatTemplateFile);
        language.chat_template = fs::exists(kept) ? kept : start.chat_template;
      });
  return language;
}

}  // namespace seqmill::train
