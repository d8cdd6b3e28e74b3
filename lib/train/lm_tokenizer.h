#pragma once
// The tokeniser of a run that trains a language model: given, that of the model it starts from, or trained on the training text; always kept in the run
// directory.

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "io/run_dir.h"
#include "text/tokenizer.h"

namespace seqmill::train {

struct TokenizerOptions {
  std::string given;  ///< a file or a directory, as text::load_tokenizer takes it
  int64_t size = 0;   ///< of one to train
  std::string type = "bpe";
  double character_coverage = 1.0;

  void declare(Options& options);
};

/// Text to train a tokeniser on.
struct TokenizerText {
  std::vector<std::string> files;
  std::string format, text_field;  ///< as in LmTaskOptions
};

/// `init_from`: the model whose tokeniser is taken unless another is asked for; empty: none. A run with checkpoints keeps what it has; a given tokeniser must then be
/// the same.
std::shared_ptr<const text::Tokenizer> prepare_tokenizer(const TokenizerOptions& options, const std::string& init_from, const TokenizerText& text,
                                                         const io::RunDir& run, int threads);

/// Copies the template of conversations into the run where it is a file. Returns what make_chat_template takes: a name, or that of the copy. A run with
/// checkpoints keeps its copy; another one is refused.
std::string prepare_chat_template(const std::string& name, const io::RunDir& run);

}  // namespace seqmill::train
