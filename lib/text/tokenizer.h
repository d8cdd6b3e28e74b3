#pragma once
// Tokenisers of language models: SentencePiece models and byte-level BPE. Unlike Vocabulary, which takes text line by line, they keep text as it is, line
// ends and runs of spaces too.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill::text {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int32_t size() const = 0;  ///< ids are 0 .. size() - 1
  virtual int32_t bos() const = 0;   ///< what a text begins with; -1: none
  virtual int32_t eos() const = 0;   ///< what ends a text; never -1

  /// Ids of a text, without begin and end symbols. What looks like a special token in it is text as any other. Any valid UTF-8 gives ids. Thread-safe.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The bytes that ids stand for, special tokens dropped: of a sequence cut within a character these are no valid UTF-8. With `continues` the ids go on a
  /// text, and a tokeniser that marks the beginning of a text by a space keeps that space. An id outside 0 .. size() - 1 throws Error. Thread-safe.
  virtual std::string decode(const std::vector<int32_t>& ids, bool continues = false) const = 0;

  virtual std::string piece(int32_t id) const = 0;
  /// The id of a special token by its text, such as "<|im_start|>" or "</s>"; -1 when there is none.
  virtual int32_t special(std::string_view text) const = 0;
  /// Whether an id is a special token, which stands for no text.
  virtual bool is_special(int32_t id) const = 0;

  /// What it was read from; that and what lies beside it (tokenizer_config.json) is what travels with a model.
  virtual const std::string& path() const = 0;
};

/// Of a directory: vocab.spm, tokenizer.model or tokenizer.json, the first that is there; or of such a file. Throws Error naming the file.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& path);

/// Whether every id stands for the same piece in both.
bool same_pieces(const Tokenizer& a, const Tokenizer& b);

}  // namespace seqmill::text
