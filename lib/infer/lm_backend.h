#pragma once
// What computes a language model (infer/backend.h), and the memory that it takes.

#include <cstdint>
#include <memory>
#include <string>

#include "infer/backend.h"
#include "infer/language_model.h"

namespace seqmill::infer {

/// As load_translation_model(). `tokenizer`: that of the model where it has been loaded already, which takes a while.
LoadedLanguageModel load_language_model(const std::string& path, const BackendOptions& options, int threads, std::shared_ptr<const text::Tokenizer> tokenizer = nullptr);

/// What a model is, by its configuration, its tokeniser and the heads of its weight files.
struct LanguageModelSize {
  std::string type;
  std::string chat_template;  ///< that the model brings along
  int64_t parameters = 0;     ///< without scales of integers
  int64_t integers = 0;       ///< of them, those stored in 8 bits
  int64_t wide_integers = 0;  ///< and those stored in 16
  int64_t scales = 0;         ///< of all of those
  int64_t vocabulary = 0;     ///< tokens of the tokeniser
  int64_t rows = 0;           ///< of the embedding: those tokens, and what it is padded with
  int64_t row_numbers = 0;    ///< what a token on its way through the layers takes
  int64_t max_positions = 0;
  int64_t cache_numbers = 0;  ///< keys and values of one token
  bool throughout = false;    ///< all that is computed is integers, keys and values too

  int64_t weight_bytes(const std::string& precision) const;
  int64_t cache_bytes(const std::string& precision) const;  ///< of one token
};

/// Throws Error as loading does for files that cannot be read. `tokenizer`: likewise.
LanguageModelSize size_language_model(const std::string& path, const std::shared_ptr<const text::Tokenizer>& tokenizer = nullptr);

/// So many sequences at a time, each of so many tokens, and what computes them.
struct SequenceLoad {
  int64_t rows = 1, tokens = 1, workers = 1;
};

/// Bytes of weights, keys and values, log-probabilities, and of what each worker has under way. Never more than INT64_MAX.
int64_t memory_needed(const LanguageModelSize& size, const std::string& precision, const SequenceLoad& load);

/// Throws Error with numbers and advice when the weights and one sequence will not fit into `available` bytes; warns when all of `load` may not. `advice` names the
/// options that make that less.
void check_memory(const LanguageModelSize& size, const std::string& path, const std::string& precision, const SequenceLoad& load, int64_t available,
                  const std::string& advice);

/// Of a model that is loaded: throws Error when one sequence of so many tokens will not fit into `available` bytes.
void check_sequence_memory(const LanguageModelSize& size, const std::string& precision, int64_t tokens, int64_t available);

/// Lines for people.
std::string describe(const LanguageModelSize& size, const std::string& path, const std::string& precision, const SequenceLoad& load, int64_t available);

}  // namespace seqmill::infer
