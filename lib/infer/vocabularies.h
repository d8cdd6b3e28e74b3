#pragma once
// The vocabularies that travel with a translation model.

#include <cstdint>
#include <memory>
#include <string>

#include "text/vocabulary.h"

namespace seqmill::infer {

struct VocabularySizes {
  int64_t source = 0, target = 0;
  bool shared = false;  ///< one vocabulary for both sides
};

/// vocab.spm for both sides, or vocab.src.spm and vocab.tgt.spm.
struct Vocabularies {
  std::shared_ptr<const text::Vocabulary> source, target;  ///< one object when shared
  bool shared() const { return source == target; }
  VocabularySizes sizes() const;
};

Vocabularies load_vocabularies(const std::string& directory);

}  // namespace seqmill::infer
