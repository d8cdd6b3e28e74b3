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
  /// Likewise of a text that goes on another: without the space by which some tokenisers mark the beginning of a text.
  virtual std::vector<int32_t> encode_continued(std::string_view text) const { return encode(text); }
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

/// Writes what load_tokenizer needs into a directory: the file itself under the name that is looked for, and what lies beside it. Begin and end symbols that
/// were known from elsewhere (config.json of a model) are written to the copy's tokenizer_config.json.
void copy_tokenizer(const Tokenizer& tokenizer, const std::string& directory);

/// Whether every id stands for the same piece in both.
bool same_pieces(const Tokenizer& a, const Tokenizer& b);

}  // namespace seqmill::text
