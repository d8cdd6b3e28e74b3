#pragma once
// What stands between Vocabulary and SentencePiece. Debian's libsentencepiece.so exports a copy of protobuf of its own; in one
// symbol scope with the libprotobuf.so that LibTorch brings, the two take each other's functions and crash before main().
// So SentencePiece lives in a plug-in, libseqmill-sentencepiece.so, that is opened with a scope of its own when it is first needed.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/sentencepiece_file.h"
#include "text/vocabulary.h"

namespace seqmill::text {

enum class PieceKind { kText, kByte, kControl, kUnknown, kUnused };

/// One loaded model; the contract is that of Vocabulary, and for tokenisers of language models what stands below.
class VocabularyBackend {
 public:
  virtual ~VocabularyBackend() = default;
  virtual int32_t size() const = 0;
  virtual int32_t unk() const = 0;
  virtual int32_t bos() const = 0;
  virtual int32_t eos() const = 0;
  virtual int32_t pad() const = 0;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  virtual std::string piece(int32_t id) const = 0;

  virtual SentencePieceTraits traits() const = 0;
  virtual bool has_bos() const = 0;
  virtual PieceKind kind(int32_t id) const = 0;
  /// As encode(), without the space that the model puts before a text.
  virtual std::vector<int32_t> encode_continued(std::string_view text) const = 0;
};

struct VocabularyLibrary {
  std::unique_ptr<VocabularyBackend> (*open)(const std::string& path);
  /// Returns the bytes of the trained model.
  std::string (*train)(const std::vector<std::string>& inputs, const VocabularyTraining& options);
};

/// The plug-in, opened by the first call.
const VocabularyLibrary& vocabulary_library();

}  // namespace seqmill::text

/// The plug-in's only symbol.
extern "C" const seqmill::text::VocabularyLibrary* seqmill_vocabulary_library();
