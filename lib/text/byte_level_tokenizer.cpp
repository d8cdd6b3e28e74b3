#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "base/strings.h"
#include "text/added_tokens.h"
#include "text/byte_pairs.h"
#include "text/split_pattern.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"
#include "text/tokenizers.h"
#include "text/unicode.h"

namespace seqmill::text {
namespace {

// Names in use for the two symbols where no file states them.
constexpr const char* kUsualBos[] = {"<|begin_of_text|>", "<s>"};
constexpr const char* kUsualEos[] = {"<|end_of_text|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<|im_end|>"};

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(const std::string& path) : path_(path) {
    TokenizerJson file = read_tokenizer_json(path);
    const TokenizerConfig config = read_tokenizer_config(directory_of(path));
    pieces_ = std::move(file.pieces);
    normalizes_ = file.normalizes;
    prefix_space_ = file.prefix_space;
    for (const auto& split : file.splits) splits_.emplace_back(split.pattern, split.literal, split.place);
    for (const std::string& piece : pieces_) bytes_.push_back(bytes_of_spelling(piece));
    add_tokens(file.added);
    add_tokens(beyond(file.added, config));
    find_ends(config, file.begins_with);
    build_pairs(file);
  }

  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t bos() const override { return bos_; }
  int32_t eos() const override { return eos_; }

  std::vector<int32_t> encode(std::string_view text) const override { return encode_text(text, prefix_space_); }
  std::vector<int32_t> encode_continued(std::string_view text) const override { return encode_text(text, false); }

  std::string decode(const std::vector<int32_t>& ids, bool continues) const override {
    std::string text;
    for (const int32_t id : ids) {
      check_id(id);
      if (!special_.contains(id)) text += bytes_[static_cast<size_t>(id)];
    }
    if (prefix_space_ && !continues && starts_with(text, " ")) text.erase(0, 1);
    return text;
  }

  std::string piece(int32_t id) const override {
    check_id(id);
    return pieces_[static_cast<size_t>(id)];
  }
  int32_t special(std::string_view text) const override { return special_.find(text); }
  bool is_special(int32_t id) const override { return special_.contains(id); }
  const std::string& path() const override { return path_; }

 private:
  void add_tokens(const std::vector<AddedToken>& tokens) {
    bytes_.resize(pieces_.size());
    for (const AddedToken& token : tokens) {
      bytes_[static_cast<size_t>(token.id)] = token.text;
      if (token.special) {
        special_.add(token.id, token.text);
      } else if (token.normalized) {
        AddedToken normal = token;
        if (normalizes_) normal.text = to_nfc(token.text);
        normalized_finder_.add(normal);
      } else {
        finder_.add(token);
      }
    }
  }

  // Tokens of tokenizer_config.json that tokenizer.json does not name.
  std::vector<AddedToken> beyond(const std::vector<AddedToken>& known, const TokenizerConfig& config) {
    std::vector<AddedToken> tokens;
    for (const AddedToken& token : config.added) {
      if (std::any_of(known.begin(), known.end(), [&](const AddedToken& other) { return other.id == token.id; })) continue;
      reserve_id(pieces_, token.id, config.added_place);
      std::string& piece = pieces_[static_cast<size_t>(token.id)];
      if (!piece.empty() && piece != token.text) {
        fail("{}: the id {} of \"{}\" is that of \"{}\" in {}", config.added_place, token.id, excerpt(token.text, 40), excerpt(piece, 40), path_);
      }
      piece = token.text;
      tokens.push_back(token);
    }
    return tokens;
  }

  // A special token, or any piece of that text, which becomes one.
  int32_t find_or_make_special(const std::string& text) {
    if (const int32_t id = special_.find(text); id >= 0) return id;
    const auto found = std::find(pieces_.begin(), pieces_.end(), text);
    if (found == pieces_.end()) return -1;
    const auto id = static_cast<int32_t>(found - pieces_.begin());
    special_.add(id, text);
    return id;
  }

  template <typename Names>
  int32_t first_of(const Names& names) const {
    for (const char* name : names) {
      if (const int32_t id = special_.find(name); id >= 0) return id;
    }
    return -1;
  }

  void find_ends(const TokenizerConfig& config, const std::string& begins_with) {
    const auto find = [&](const std::string& text) { return find_or_make_special(text); };
    if (config.bos.stated) {
      bos_ = resolve(config.bos, size(), find);
    } else {
      bos_ = begins_with.empty() ? first_of(kUsualBos) : special_.find(begins_with);
    }
    eos_ = config.eos.stated ? resolve(config.eos, size(), find) : first_of(kUsualEos);
    if (eos_ < 0) fail("{}: no token is known to end a text; name it as eos_token in {}/tokenizer_config.json", path_, directory_of(path_));
    for (const int32_t id : {bos_, eos_}) {  // those that are known by their number alone
      if (id >= 0 && !special_.contains(id)) special_.add(id, piece(id));
    }
  }

  // Special tokens are no outcome of merging: what looks like one in a text is text.
  void build_pairs(const TokenizerJson& file) {
    words_ = bytes_;
    for (int32_t id = 0; id < size(); ++id) {
      if (special_.contains(id)) words_[static_cast<size_t>(id)].clear();
    }
    std::vector<BytePairs::Merge> merges;
    for (const BytePairs::Merge& merge : file.merges) {
      if (!special_.contains(merge.result)) merges.push_back(merge);
    }
    try {
      pairs_ = std::make_unique<const BytePairs>(words_, merges, file.ignore_merges);
    } catch (const Error& error) {
      fail("{}: {}", path_, error.what());
    }
  }

  void check_id(int32_t id) const {
    if (id < 0 || id >= size()) fail("{}: no piece has the id {}, expected 0 to {}", path_, id, size() - 1);
  }

  struct Work {
    SplitPattern::Scratch split;
    BytePairs::Scratch pairs;
    std::vector<std::string_view> parts, finer;
    std::vector<int32_t> ids;
  };

  // Work of earlier calls, for its memory: what a pattern needs costs more to allocate than a line of text to encode.
  class BorrowedWork {
   public:
    explicit BorrowedWork(const ByteLevelTokenizer& owner) : owner_(owner) {
      const std::lock_guard<std::mutex> lock(owner_.idle_mutex_);
      if (owner_.idle_.empty()) return;
      work_ = std::move(owner_.idle_.back());
      owner_.idle_.pop_back();
    }
    ~BorrowedWork() {
      if (!work_ || std::max(work_->parts.capacity(), work_->pairs.capacity()) > kMostKept) return;
      const std::lock_guard<std::mutex> lock(owner_.idle_mutex_);
      owner_.idle_.push_back(std::move(work_));
    }
    BorrowedWork(const BorrowedWork&) = delete;
    BorrowedWork& operator=(const BorrowedWork&) = delete;
    Work& get() {
      if (!work_) work_ = std::make_unique<Work>();
      return *work_;
    }

   private:
    static constexpr size_t kMostKept = 1 << 16;  // parts of a text or symbols of a word; what a long one needed is given back

    const ByteLevelTokenizer& owner_;
    std::unique_ptr<Work> work_;
  };

  void encode_plain(std::string_view text, Work& work) const {
    work.parts.assign(1, text);
    for (const SplitPattern& split : splits_) {
      work.finer.clear();
      for (const std::string_view part : work.parts) split.split(part, work.split, work.finer);
      work.parts.swap(work.finer);
    }
    for (const std::string_view part : work.parts) pairs_->encode(part, work.pairs, work.ids);
  }

  void encode_normalized(std::string_view text, Work& work) const {
    for (const auto& part : normalized_finder_.split(text)) {
      if (part.id < 0) {
        encode_plain(part.text, work);
      } else {
        work.ids.push_back(part.id);
      }
    }
  }

  std::vector<int32_t> encode_text(std::string_view text, bool prefix_space) const {
    if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
      fail("{}: cannot encode a text: byte {} (0x{:02X}) is not valid UTF-8", path_, bad + 1, static_cast<unsigned char>(text[bad]));
    }
    if (text.size() > kMaxTextBytes) fail("{}: cannot encode a text of {} bytes, expected at most {}", path_, text.size(), kMaxTextBytes);
    BorrowedWork borrowed(*this);
    Work& work = borrowed.get();
    work.ids.clear();
    std::string prefixed;
    if (prefix_space && !text.empty() && text.front() != ' ') text = prefixed = " " + std::string(text);
    for (const auto& part : finder_.split(text)) {
      if (part.id >= 0) {
        work.ids.push_back(part.id);
      } else if (normalizes_) {
        encode_normalized(to_nfc(part.text), work);
      } else {
        encode_normalized(part.text, work);
      }
    }
    return std::move(work.ids);
  }

  static constexpr size_t kMaxTextBytes = size_t{1} << 30;  // ICU and the merging count in 32 bits

  std::string path_;
  std::vector<std::string> pieces_;  // as the file spells them
  std::vector<std::string> bytes_;   // what they stand for
  std::vector<std::string> words_;   // bytes_ of those that merging leads to
  bool normalizes_ = false, prefix_space_ = false;
  std::vector<SplitPattern> splits_;
  SpecialTokens special_;
  AddedTokenFinder finder_, normalized_finder_;
  int32_t bos_ = -1, eos_ = -1;
  std::unique_ptr<const BytePairs> pairs_;
  mutable std::mutex idle_mutex_;
  mutable std::vector<std::unique_ptr<Work>> idle_;
};

}  // namespace

std::shared_ptr<const Tokenizer> open_byte_level_tokenizer(const std::string& path) { return std::make_shared<const ByteLevelTokenizer>(path); }

}  // namespace seqmill::text
