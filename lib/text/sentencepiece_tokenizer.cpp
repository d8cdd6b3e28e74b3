#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "text/added_tokens.h"
#include "text/tokenizer_config.h"
#include "text/tokenizers.h"
#include "text/vocabulary_backend.h"

namespace seqmill::text {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";     // U+2581
constexpr const char* kUnknownText = " \xE2\x81\x87 ";      // U+2047, as SentencePiece has it
constexpr int32_t kMaxAdded = 1 << 16;
constexpr size_t kPartBytes = 2048;

// Whether no piece goes on behind a word, as of a model that was trained to split at spaces.
bool ends_with_word(const std::string& piece) {
  bool in_word = false;
  for (std::string_view rest = piece; !rest.empty();) {
    const bool is_mark = starts_with(rest, kSpaceMark);
    if (rest.front() == ' ' || (is_mark && in_word)) return false;
    in_word = in_word || !is_mark;
    rest.remove_prefix(is_mark ? kSpaceMark.size() : 1);
  }
  return true;
}

// The length of a first part of a text of about `size` bytes that ends where a word does and a space follows; all of it if there is no such place.
size_t first_part(std::string_view text, size_t size) {
  for (size_t at = text.find(' ', size); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    if (text[at - 1] != ' ' && !ends_with(text.substr(0, at), kSpaceMark)) return at;
  }
  return text.size();
}

std::string with_spaces(std::string text) {
  for (size_t at = 0; (at = text.find(kSpaceMark, at)) != std::string::npos;) text.replace(at, kSpaceMark.size(), " ");
  return text;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::string& path) : path_(path), backend_(vocabulary_library().open(path)), traits_(backend_->traits()) {
    if (traits_.dummy_suffix) fail("{}: a model that marks the end of words by a space (treat_whitespace_as_suffix) is not supported", path_);
    read_pieces();
    const TokenizerConfig config = read_tokenizer_config(directory_of(path));
    for (const AddedToken& token : config.added) add_token(token, config.added_place);
    const auto find = [&](const std::string& text) { return find_or_make_special(text); };
    bos_ = config.bos.stated ? resolve(config.bos, size(), find) : backend_->has_bos() ? backend_->bos() : -1;
    eos_ = config.eos.stated ? resolve(config.eos, size(), find) : -1;
    if (eos_ < 0) eos_ = backend_->eos();
    for (const int32_t id : {bos_, eos_}) {  // those that are known by their number alone
      if (id >= 0 && !special_.contains(id)) special_.add(id, piece(id));
    }
  }

  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t bos() const override { return bos_; }
  int32_t eos() const override { return eos_; }

  std::vector<int32_t> encode(std::string_view text) const override { return encode_text(text, false); }
  std::vector<int32_t> encode_continued(std::string_view text) const override { return encode_text(text, true); }

  std::string decode(const std::vector<int32_t>& ids, bool continues) const override {
    std::string text;
    bool at_beginning = !continues && (traits_.dummy_prefix || traits_.removes_extra_spaces);
    for (const int32_t id : ids) {
      check_id(id);
      if (special_.contains(id)) continue;
      const Piece& piece = pieces_[static_cast<size_t>(id)];
      const bool drops_space = at_beginning && starts_with(piece.text, kSpaceMark);
      text += std::string_view(piece.bytes).substr(drops_space ? 1 : 0);
      at_beginning = at_beginning && drops_space && traits_.removes_extra_spaces && piece.bytes.size() == 1;
    }
    return text;
  }

  std::string piece(int32_t id) const override {
    check_id(id);
    return pieces_[static_cast<size_t>(id)].text;
  }
  int32_t special(std::string_view text) const override { return special_.find(text); }
  bool is_special(int32_t id) const override { return special_.contains(id); }
  const std::string& path() const override { return path_; }

 private:
  struct Piece {
    std::string text;
    std::string bytes;  // what it stands for
  };

  void read_pieces() {
    byte_ids_.assign(256, -1);
    for (int32_t id = 0; id < backend_->size(); ++id) {
      Piece piece{backend_->piece(id), ""};
      switch (backend_->kind(id)) {
        case PieceKind::kText: piece.bytes = with_spaces(piece.text); break;
        case PieceKind::kUnknown: piece.bytes = kUnknownText; break;
        case PieceKind::kControl: special_.add(id, piece.text); break;
        case PieceKind::kByte: piece.bytes = read_byte(piece.text, id); break;
        case PieceKind::kUnused: piece.bytes = with_spaces(piece.text); break;
      }
      pieces_.push_back(std::move(piece));
    }
    has_bytes_ = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
    is_local_ = traits_.is_bpe && !traits_.has_rules && !traits_.removes_extra_spaces;
    for (int32_t id = 0; id < backend_->size() && is_local_; ++id) {
      is_local_ = backend_->kind(id) != PieceKind::kText || ends_with_word(pieces_[static_cast<size_t>(id)].text);
    }
    keeps_everything_ = has_bytes_ && !traits_.has_rules && !traits_.dummy_prefix && !traits_.removes_extra_spaces;
  }

  // "<0x0A>"
  std::string read_byte(const std::string& text, int32_t id) {
    static constexpr std::string_view kDigits = "0123456789ABCDEF";
    const bool is_byte = text.size() == 6 && starts_with(text, "<0x") && text[5] == '>';
    const size_t high = is_byte ? kDigits.find(text[3]) : std::string_view::npos;
    const size_t low = is_byte ? kDigits.find(text[4]) : std::string_view::npos;
    if (high == std::string_view::npos || low == std::string_view::npos) {
      fail("{}: damaged vocabulary: the byte piece {} is \"{}\", expected \"<0x00>\" to \"<0xFF>\"", path_, id, excerpt(text, 40));
    }
    byte_ids_[16 * high + low] = id;
    return std::string(1, static_cast<char>(16 * high + low));
  }

  void add_token(const AddedToken& token, const std::string& place) {
    if (token.id < backend_->size()) {
      // The model's own pieces are listed among the added ones too; only that they are special is news.
      if (!token.special || backend_->kind(token.id) == PieceKind::kUnknown) return;
      const std::string& piece = pieces_[static_cast<size_t>(token.id)].text;
      if (piece != token.text) {
        fail("{}: the id {} of \"{}\" is that of \"{}\" in {}", place, token.id, excerpt(token.text, 40), excerpt(piece, 40), path_);
      }
      special_.add(token.id, token.text);
      return;
    }
    if (token.id >= backend_->size() + kMaxAdded) {
      fail("{}: found the id {} of \"{}\", expected at most {}", place, token.id, excerpt(token.text, 40), backend_->size() + kMaxAdded - 1);
    }
    if (token.id >= size()) pieces_.resize(static_cast<size_t>(token.id) + 1);
    pieces_[static_cast<size_t>(token.id)] = {token.text, token.text};
    if (token.special) {
      special_.add(token.id, token.text);
    } else {
      finder_.add(token);
    }
  }

  // A special token, or any piece of that text, which becomes one.
  int32_t find_or_make_special(const std::string& text) {
    if (const int32_t id = special_.find(text); id >= 0) return id;
    const auto found = std::find_if(pieces_.begin(), pieces_.end(), [&](const Piece& piece) { return piece.text == text; });
    if (found == pieces_.end()) return -1;
    const auto id = static_cast<int32_t>(found - pieces_.begin());
    special_.add(id, text);
    return id;
  }

  void check_id(int32_t id) const {
    if (id < 0 || id >= size()) fail("{}: no piece has the id {}, expected 0 to {}", path_, id, size() - 1);
  }

  void spell(std::string_view bytes, std::vector<int32_t>& ids) const {
    if (!has_bytes_) {
      ids.push_back(backend_->unk());
      return;
    }
    for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  }

  // A piece of the model that a file beside it declares special is text when it stands in a text.
  void append(const std::vector<int32_t>& encoded, std::vector<int32_t>& ids) const {
    for (const int32_t id : encoded) {
      if (special_.contains(id)) {
        spell(pieces_[static_cast<size_t>(id)].bytes, ids);
      } else {
        ids.push_back(id);
      }
    }
  }

  // SentencePiece takes the character by which it marks spaces for a space. A model that keeps everything else keeps it too, as bytes.
  void encode_part(std::string_view text, bool continues, std::vector<int32_t>& ids) const {
    while (keeps_everything_) {
      const size_t mark = text.find(kSpaceMark);
      if (mark == std::string_view::npos) break;
      append(backend_->encode(text.substr(0, mark)), ids);
      spell(kSpaceMark, ids);
      text.remove_prefix(mark + kSpaceMark.size());
    }
    // SentencePiece is made for sentences: its queue of merges of a long text leaves the caches. Where no piece spans two words, parts give the same ids; but
    // not in a unigram model, which adds up scores from the beginning of the text.
    do {
      const size_t size = is_local_ ? first_part(text, kPartBytes) : text.size();
      append(continues ? backend_->encode_continued(text.substr(0, size)) : backend_->encode(text.substr(0, size)), ids);
      text.remove_prefix(size);
      continues = true;
    } while (!text.empty());
  }

  std::vector<int32_t> encode_text(std::string_view text, bool continues) const {
    if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
      fail("{}: cannot encode a text: byte {} (0x{:02X}) is not valid UTF-8", path_, bad + 1, static_cast<unsigned char>(text[bad]));
    }
    std::vector<int32_t> ids;
    for (const auto& part : finder_.split(text)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        encode_part(part.text, continues, ids);
      }
      continues = true;
    }
    return ids;
  }

  std::string path_;
  std::unique_ptr<VocabularyBackend> backend_;
  SentencePieceTraits traits_;
  std::vector<Piece> pieces_;
  std::vector<int32_t> byte_ids_;
  bool has_bytes_ = false, keeps_everything_ = false;
  bool is_local_ = false;  // merges never span two words
  SpecialTokens special_;
  AddedTokenFinder finder_;
  int32_t bos_ = -1, eos_ = -1;
};

}  // namespace

std::shared_ptr<const Tokenizer> open_sentencepiece_tokenizer(const std::string& path) { return std::make_shared<const SentencePieceTokenizer>(path); }

}  // namespace seqmill::text
