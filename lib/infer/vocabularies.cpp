#include "infer/vocabularies.h"

#include <filesystem>

namespace seqmill::infer {

VocabularySizes Vocabularies::sizes() const { return {source->size(), target->size(), shared()}; }

Vocabularies load_vocabularies(const std::string& directory) {
  const auto load = [&](const char* name) { return std::make_shared<const text::Vocabulary>(directory + "/" + name); };
  Vocabularies vocabularies;
  if (std::filesystem::exists(directory + "/vocab.src.spm")) {
    vocabularies.source = load("vocab.src.spm");
    vocabularies.target = load("vocab.tgt.spm");
  } else {
    vocabularies.source = vocabularies.target = load("vocab.spm");
  }
  return vocabularies;
}

}  // namespace seqmill::infer
