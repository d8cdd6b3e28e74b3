#pragma once
// What tools that train language models share: the model that a training starts from with its options, its tokeniser and template, and what is exported at the end.

#include <memory>
#include <optional>
#include <string>

#include "base/options.h"
#include "model/lm.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "train/lm_tokenizer.h"
#include "train/session.h"

namespace seqmill::train {

class LmStart {
 public:
  std::string init_from;
  std::string chat_template = "plain";

  /// "init-from", on the command line --`flag`, with this help.
  void declare_source(Options& options, const std::string& help, const std::string& flag = "init-from");
  /// "export-hf", "export-dtype"
  void declare_export(Options& options, const std::string& help);
  /// "chat.template"; its default and those of the model's options are as the source has them, where it is there: a run that goes on has all of it in its configuration,
  /// whatever became of the model that it began with. After declare_source().
  void declare_chat(Options& options, const std::string& help);
  /// "model.*", "lora.*", "checkpointing"; after declare_source().
  void declare_model(Options& options);

  /// Of the model that a training starts from, where it is there; after declare_source().
  const std::optional<infer::ModelConfig>& source() const { return source_; }
  /// Of the model that it starts from; "" where there is none. After declare_source().
  const std::string& source_directory() const { return source_directory_; }
  bool exports() const { return !export_to_.empty(); }
  /// What would stop the export is said before hours of training. A run that goes on may have exported already.
  void check_export(const std::string& config_yaml, bool resumes) const;
  /// The model at `path`.
  void export_model(const std::string& path, bool resumes = false) const;

  /// Weights are drawn where there is a seed, else left unset.
  std::unique_ptr<model::Lm> build(int64_t vocabulary, std::optional<uint64_t> seed) const;
  /// The model as a new run begins with it, on the CPU: drawn, and initialised from the source.
  std::unique_ptr<model::Lm> draw(const text::Tokenizer& tokenizer, uint64_t seed) const;
  /// The model as a session begins with it, on its device: drawn and initialised from the source by rank 0 of a new run; a run that goes on has its weights from the checkpoint, and the other
  /// ranks have theirs from rank 0 when training begins. `predicts`: tokens are learned, not scores alone. Throws Error where memory cannot hold the training, and a usage error for a model that
  /// predicts nothing and is to.
  std::unique_ptr<model::Lm> begin(const Session& session, const SessionOptions& options, const text::Tokenizer& tokenizer, uint64_t seed, int threads, bool predicts = true) const;

 private:
  void check_size(const model::LmSize& size, bool averages, bool resumes) const;

  std::string source_directory_, flag_ = "init-from", model_type_ = "llama", export_to_, export_type_ = "f32";
  bool checkpointing_ = false;
  std::optional<infer::ModelConfig> source_;  ///< of the model that a training starts from
  std::unique_ptr<model::LmConfig> model_;
};

/// A run's tokeniser, and the template of its conversations as make_chat_template takes it.
struct LmLanguage {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::string chat_template;
};

/// Rank 0 prepares them in the run directory, the others read them there.
LmLanguage prepare_language(const Session& session, const LmStart& start, const TokenizerOptions& options, const TokenizerText& text, int threads);

}  // namespace seqmill::train
