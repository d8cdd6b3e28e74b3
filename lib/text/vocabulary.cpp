#include "text/vocabulary.h"

#include <dlfcn.h>

#include "base/plugin.h"
#include "io/output.h"
#include "text/vocabulary_backend.h"

#if defined(__SANITIZE_ADDRESS__)
#define SEQMILL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEQMILL_SANITIZED 1
#endif
#endif

namespace seqmill::text {
namespace {

const VocabularyLibrary& load_library() {
#ifdef SEQMILL_SANITIZED
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;  // sanitizers need to see every malloc and refuse a scope of its own
#else
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif
  const auto entry = reinterpret_cast<decltype(&seqmill_vocabulary_library)>(
      plugin_symbol("libseqmill-sentencepiece.so", "seqmill_vocabulary_library", kFlags, "is seqmill installed whole?"));
  return *entry();
}

}  // namespace

const VocabularyLibrary& vocabulary_library() {
  static const VocabularyLibrary& loaded = load_library();
  return loaded;
}

struct Vocabulary::State {
  std::unique_ptr<VocabularyBackend> backend;
};

Vocabulary::Vocabulary(const std::string& path) : state_(std::make_unique<State>(State{vocabulary_library().open(path)})) {}
Vocabulary::~Vocabulary() = default;
Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;

int32_t Vocabulary::size() const { return state_->backend->size(); }
int32_t Vocabulary::unk() const { return state_->backend->unk(); }
int32_t Vocabulary::bos() const { return state_->backend->bos(); }
int32_t Vocabulary::eos() const { return state_->backend->eos(); }
int32_t Vocabulary::pad() const { return state_->backend->pad(); }
std::vector<int32_t> Vocabulary::encode(std::string_view text) const { return state_->backend->encode(text); }
std::string Vocabulary::decode(const std::vector<int32_t>& ids) const { return state_->backend->decode(ids); }
std::string Vocabulary::piece(int32_t id) const { return state_->backend->piece(id); }

void train_vocabulary(const std::vector<std::string>& inputs, const VocabularyTraining& options,
                      const std::string& path) {
  io::write_file(path, vocabulary_library().train(inputs, options));
}

bool same_pieces(const Vocabulary& a, const Vocabulary& b) {
  if (a.size() != b.size()) return false;
  for (int32_t id = 0; id < a.size(); ++id) {
    if (a.piece(id) != b.piece(id)) return false;
  }
  return true;
}

}  // namespace seqmill::text
