#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/strings.h"
#include "io/line_reader.h"
#include "text/sentencepiece_file.h"
#include "text/vocabulary_backend.h"

namespace seqmill::text {
namespace {

constexpr int64_t kMaxModelBytes = int64_t{1} << 29;
// The BPE trainer counts positions within a word in 16 bits and ends the process when these do not suffice, so
// that lines reach it in parts of at most this many bytes.
constexpr size_t kMaxPartBytes = 8192;
constexpr const char* kUnknownMark = "\xE2\x96\x85";

// What SentencePiece wanted to say, without its source file and the condition in brackets.
std::string reason_of(const sentencepiece::util::Status& status) {
  std::string text = status.error_message();
  if (const size_t end = text.find("] "); end != std::string::npos) text.erase(0, end + 2);
  return std::string(trim(text));
}

// Where a line is cut so that the first part has at most kMaxPartBytes: after a space if there is one, else
// between characters.
size_t cut_of(std::string_view line) {
  if (line.size() <= kMaxPartBytes) return line.size();
  const size_t space = line.rfind(' ', kMaxPartBytes - 1);
  if (space != std::string_view::npos) return space + 1;
  size_t cut = kMaxPartBytes;
  while (cut > 1 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

// The non-empty lines of all inputs, evenly thinned out to `wanted` of `total`. Errors are kept instead of thrown:
// the library that calls this was not written for exceptions.
class Corpus : public sentencepiece::SentenceIterator {
 public:
  Corpus(const std::vector<std::string>& inputs, int64_t wanted, int64_t total)
      : inputs_(inputs), wanted_(wanted), total_(total) {
    Next();
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return part_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    try {
      advance();
    } catch (...) {
      error = std::current_exception();
      done_ = true;
    }
  }

  std::exception_ptr error;

 private:
  // Line i of n is taken when the i-th of n equal steps to `wanted` passes a whole number.
  bool is_wanted(int64_t index) const {
    if (wanted_ >= total_) return true;
    const auto before = static_cast<__int128>(index) * wanted_ / total_;
    return static_cast<__int128>(index + 1) * wanted_ / total_ > before;
  }

  bool next_line() {
    while (input_ < inputs_.size()) {
      if (!reader_) reader_ = std::make_unique<io::LineReader>(inputs_[input_]);
      while (reader_->next(line_)) {
        if (!trim(line_).empty() && is_wanted(index_++)) return true;
      }
      reader_.reset();
      ++input_;
    }
    return false;
  }

  void advance() {
    if (used_ == line_.size()) {
      used_ = 0;
      done_ = !next_line();
      if (done_) return;
    }
    const std::string_view rest = std::string_view(line_).substr(used_);
    const size_t cut = cut_of(rest);
    part_.assign(rest.substr(0, cut));
    used_ += cut;
    // The trainer's own mark for the unknown (U+2585): it drops lines that hold it.
    for (size_t at = 0; (at = part_.find(kUnknownMark, at)) != std::string::npos;) part_.replace(at, 3, " ");
  }

  const std::vector<std::string>& inputs_;
  int64_t wanted_, total_;
  size_t input_ = 0;
  int64_t index_ = 0;
  std::unique_ptr<io::LineReader> reader_;
  std::string line_, part_;
  size_t used_ = 0;
  bool done_ = false;
};

int64_t count_lines(const std::vector<std::string>& inputs) {
  int64_t count = 0;
  for (const std::string& input : inputs) {
    if (input == "-")
      fail("a vocabulary cannot be trained on standard input, which can be read only once; name a file");
    io::LineReader reader(input);
    for (std::string line; reader.next(line);) count += trim(line).empty() ? 0 : 1;
  }
  return count;
}

// A list of one sentence.
class Sentence : public sentencepiece::SentenceIterator {
 public:
  bool done() const override { return done_; }
  void Next() override { done_ = true; }
  const std::string& value() const override { return text_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::string text_ = "a";
  bool done_ = false;
};

// Whether normalisation leaves anything of the corpus. If not, the unigram trainer ends the process. The
// normaliser has no interface of its own; a model of single characters and bytes shows what it does.
bool leaves_text(Corpus& corpus) {
  Sentence sentence;
  std::string model;
  auto status = sentencepiece::SentencePieceTrainer::Train({{"model_type", "char"},
                                                            {"vocab_size", "300"},
                                                            {"byte_fallback", "true"},
                                                            {"hard_vocab_limit", "false"},
                                                            {"minloglevel", "3"}},
                                                           &sentence, &model);
  sentencepiece::SentencePieceProcessor processor;
  if (status.ok()) status = processor.LoadFromSerializedProto(model);
  if (!status.ok()) fail("SentencePiece cannot be used: {}", reason_of(status));
  for (std::vector<int> ids; !corpus.done(); corpus.Next()) {
    if (processor.Encode(corpus.value(), &ids).ok() && !ids.empty()) return true;
  }
  return false;
}

std::unordered_map<std::string, std::string> trainer_arguments(const VocabularyTraining& options) {
  std::unordered_map<std::string, std::string> arguments = {
      {"model_type", options.type},
      {"vocab_size", fmt::format("{}", options.size)},
      {"character_coverage", format_double(options.character_coverage)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"num_threads", fmt::format("{}", options.threads)},
      {"max_sentence_length", fmt::format("{}", 2 * kMaxPartBytes)},
      {"minloglevel", "3"}};
  if (options.verbatim) {
    arguments["normalization_rule_name"] = "identity";
    arguments["add_dummy_prefix"] = "false";
    arguments["remove_extra_whitespaces"] = "false";
    arguments["allow_whitespace_only_pieces"] = "true";
  }
  return arguments;
}

void check_options(const VocabularyTraining& options) {
  if (options.type != "bpe" && options.type != "unigram") {
    fail_usage("the vocabulary type is '{}', expected bpe or unigram", options.type);
  }
  if (options.size < 5 || options.size > 10'000'000) {
    fail_usage("the vocabulary size is {}, expected 5 to 10000000 pieces", options.size);
  }
  if (!(options.character_coverage >= 0.98 && options.character_coverage <= 1.0)) {
    fail_usage("the character coverage is {}, expected 0.98 to 1", options.character_coverage);
  }
  if (options.verbatim && !options.byte_fallback)
    fail_usage("a vocabulary that keeps text as it is needs byte fallback, for line ends and for characters that it does not hold");
  if (options.max_sentences < 1)
    fail_usage("the largest number of sentences is {}, expected at least 1", options.max_sentences);
  if (options.threads < 1 || options.threads > 1024)
    fail_usage("the number of threads is {}, expected 1 to 1024", options.threads);
}

// The number that follows `mark` in a message, or "".
std::string number_after(const std::string& message, std::string_view mark) {
  const size_t at = message.find(mark);
  if (at == std::string::npos) return "";
  const std::string_view rest = std::string_view(message).substr(at + mark.size());
  return std::string(rest.substr(0, rest.find_first_not_of("0123456789")));
}

[[noreturn]] void fail_training(const sentencepiece::util::Status& status, const std::vector<std::string>& inputs,
                                const VocabularyTraining& options) {
  const std::string files = join(inputs, ", ");
  const std::string reason = reason_of(status);
  const std::string most = number_after(reason, "Please set it to a value <= ");
  if (!most.empty()) {
    fail("a vocabulary of {} pieces is too large for {}: at most {} would do", options.size, files, most);
  }
  const std::string least = number_after(reason, fmt::format("{} vs ", options.size));
  if (!least.empty()) {
    fail(
        "a vocabulary of {} pieces is too small for the characters of {}: at least {} are needed (or a lower "
        "character coverage{})",
        options.size, files, least, options.byte_fallback ? ", or no byte fallback, which takes 256 of them" : "");
  }
  fail("training a vocabulary on {} failed: {}", files, reason);
}

std::string train(const std::vector<std::string>& inputs, const VocabularyTraining& options) {
  const int64_t total = count_lines(inputs);
  const int64_t wanted = std::min(total, options.max_sentences);
  // Verbatim text is never normalised to nothing.
  if (Corpus first(inputs, wanted, total); total == 0 || !(options.verbatim || leaves_text(first))) {
    fail("cannot train a vocabulary: {} holds no text", join(inputs, ", "));
  }
  Corpus corpus(inputs, wanted, total);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(trainer_arguments(options), &corpus, &model);
  if (corpus.error) std::rethrow_exception(corpus.error);
  if (!status.ok()) fail_training(status, inputs, options);
  return model;
}

class SentencePieceModel final : public VocabularyBackend {
 public:
  explicit SentencePieceModel(const std::string& path) : path_(path) {
    load();
    eos_ = processor_.eos_id();
    if (eos_ < 0) fail("{}: the vocabulary has no end-of-sentence piece; train it with one (--eos_id)", path_);
    bos_ = processor_.bos_id() < 0 ? eos_ : processor_.bos_id();
    pad_ = processor_.pad_id() < 0 ? eos_ : processor_.pad_id();
  }

  int32_t size() const override { return processor_.GetPieceSize(); }
  int32_t unk() const override { return processor_.unk_id(); }
  int32_t bos() const override { return bos_; }
  int32_t eos() const override { return eos_; }
  int32_t pad() const override { return pad_; }

  std::vector<int32_t> encode(std::string_view text) const override {
    return encode_with(processor_, text);
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    for (const int32_t id : ids) check_id(id);
    std::string text;
    const auto status = processor_.Decode(ids, &text);
    if (!status.ok()) fail("{}: cannot decode: {}", path_, reason_of(status));
    // Byte pieces can spell what would break the rule of one line in, one line out.
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\0'; }, ' ');
    return text;
  }

  std::string piece(int32_t id) const override {
    check_id(id);
    return processor_.IdToPiece(id);
  }

  SentencePieceTraits traits() const override { return traits_; }
  bool has_bos() const override { return processor_.bos_id() >= 0; }

  PieceKind kind(int32_t id) const override {
    check_id(id);
    if (processor_.IsControl(id)) return PieceKind::kControl;
    if (processor_.IsByte(id)) return PieceKind::kByte;
    if (processor_.IsUnknown(id)) return PieceKind::kUnknown;
    return processor_.IsUnused(id) ? PieceKind::kUnused : PieceKind::kText;
  }

  std::vector<int32_t> encode_continued(std::string_view text) const override {
    return encode_with(traits_.dummy_prefix ? continuing() : processor_, text);
  }

 private:
  std::vector<int32_t> encode_with(const sentencepiece::SentencePieceProcessor& processor, std::string_view text) const {
    std::vector<int> ids;
    const auto status = processor.Encode(text, &ids);
    if (!status.ok()) fail("{}: cannot encode a text: {}", path_, reason_of(status));
    return ids;
  }

  // SentencePiece decides on the space when it loads a model, so that a second one serves texts that go on others.
  const sentencepiece::SentencePieceProcessor& continuing() const {
    std::call_once(continuing_loaded_, [&] {
      continuing_ = std::make_unique<sentencepiece::SentencePieceProcessor>();
      const auto status = continuing_->LoadFromSerializedProto(without_dummy_prefix(bytes_));
      if (!status.ok()) fail("{}: damaged vocabulary: {}", path_, reason_of(status));
    });
    return *continuing_;
  }

  void load() {
    const std::string bytes = io::read_file(path_, kMaxModelBytes);
    const std::string damage = find_model_damage(bytes);
    if (!damage.empty()) fail("{}: damaged vocabulary: {}", path_, damage);
    sentencepiece::util::Status status;
    try {
      status = processor_.LoadFromSerializedProto(bytes);
    } catch (const std::exception& error) {
      fail("{}: damaged vocabulary: {}", path_, error.what());
    }
    if (!status.ok()) fail("{}: damaged vocabulary: {}", path_, reason_of(status));
    traits_ = sentencepiece_traits(bytes);
    if (traits_.dummy_prefix) bytes_ = bytes;
  }

  void check_id(int32_t id) const {
    if (id < 0 || id >= size()) fail("{}: no piece has the id {}, expected 0 to {}", path_, id, size() - 1);
  }

  std::string path_;
  sentencepiece::SentencePieceProcessor processor_;
  SentencePieceTraits traits_;
  std::string bytes_;  // for continuing()
  int32_t bos_ = -1, eos_ = -1, pad_ = -1;
  mutable std::once_flag continuing_loaded_;
  mutable std::unique_ptr<sentencepiece::SentencePieceProcessor> continuing_;
};

std::unique_ptr<VocabularyBackend> open_model(const std::string& path) { return std::make_unique<SentencePieceModel>(path); }

std::string train_model(const std::vector<std::string>& inputs, const VocabularyTraining& options) {
  check_options(options);
  if (inputs.empty()) fail_usage("no file to train a vocabulary on");
  return train(inputs, options);
}

}  // namespace
}  // namespace seqmill::text

const seqmill::text::VocabularyLibrary* seqmill_vocabulary_library() {
  static const seqmill::text::VocabularyLibrary library{seqmill::text::open_model, seqmill::text::train_model};
  return &library;
}
