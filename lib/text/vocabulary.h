#pragma once
// Subword vocabularies: SentencePiece models (Kudo & Richardson, 2018), given or trained on the spot.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill::text {

class Vocabulary {
 public:
  /// Loads a SentencePiece model. Throws Error naming the file when it is missing, damaged, or has no end-of-sentence piece.
  explicit Vocabulary(const std::string& path);
  ~Vocabulary();
  Vocabulary(Vocabulary&&) noexcept;
  Vocabulary& operator=(Vocabulary&&) noexcept;

  int32_t size() const;
  int32_t unk() const;
  int32_t bos() const;  ///< eos() when the model has none: then the target starts with the end symbol, as in fairseq
  int32_t eos() const;
  int32_t pad() const;  ///< eos() when the model has none; padding is always masked, its value never matters

  /// Ids without bos and eos. Any byte sequence gives ids (unk, or byte pieces when the model has byte fallback). Thread-safe.
  std::vector<int32_t> encode(std::string_view text) const;
  /// Text of the ids; control symbols are dropped. One line: a line feed, carriage return or NUL spelt by byte pieces
  /// comes out as a space. An id outside 0..size()-1 throws Error. Thread-safe.
  std::string decode(const std::vector<int32_t>& ids) const;
  std::string piece(int32_t id) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Whether every id stands for the same piece in both.
bool same_pieces(const Vocabulary& a, const Vocabulary& b);

struct VocabularyTraining {
  int64_t size = 8000;
  std::string type = "bpe";  ///< "bpe" or "unigram"
  double character_coverage = 1.0;
  bool byte_fallback = true;  ///< characters outside the vocabulary become bytes instead of the unknown piece
  int64_t max_sentences = 2000000;  ///< a larger corpus is sampled evenly
  int64_t threads = 1;
  /// For language models: text is kept as it is, every byte of it, so that decoding what load_tokenizer() encodes gives it back. Line ends are bytes. Needs
  /// byte_fallback.
  bool verbatim = false;
};

/// Trains on every line of `inputs` (plain or .gz; read several times) and writes `<path>` atomically; ids: unk 0, bos 1,
/// eos 2, pad 3. Text is normalised as SentencePiece's nmt_nfkc does, unless it is to be kept verbatim. Deterministic at equal `threads`. Throws Error when
/// the corpus holds no text, or when the size asked for is too large or too small for it, saying which size would do.
void train_vocabulary(const std::vector<std::string>& inputs, const VocabularyTraining& options, const std::string& path);

}  // namespace seqmill::text
