#include "data/lm_corpus.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "data/reading_progress.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "text/plain_text.h"
#include "text/records.h"

namespace seqmill::data {
namespace {

constexpr TokenFileKind kKind = "sqmstrm2";
constexpr size_t kTogetherBytes = size_t{1} << 22;  // text tokenised together, shared out among the threads

class Builder {
 public:
  Builder(const StreamFormat& format, const text::Tokenizer& tokenizer, const std::string& path, bool progress)
      : format_(format), tokenizer_(tokenizer), file_(path, kKind), progress_(progress) {}

  void build(const std::vector<std::string>& files, const Fingerprint& fingerprint) {
    for (const std::string& path : files) {
      const int64_t before = counts_.documents;
      if (format_.kind == "text") {
        read_text(path, path == files.front());
      } else {
        read_documents(path);
      }
      if (counts_.documents == before) fail("{} holds no text", path);
    }
    file_.close(fingerprint, counts_);
  }

 private:
  /// A piece of text to tokenise. Which pieces are worked on together makes no difference to any.
  struct Piece {
    std::string text;
    bool begins = true;
    Tokens ids = {};
    int64_t words = 0;
  };

  void encode_all(std::vector<Piece>& pieces) const {
    parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        pieces[i].ids = text::encode_chunk(tokenizer_, pieces[i].text, pieces[i].begins);
        pieces[i].words = text::count_words(pieces[i].text);
      }
    });
  }

  void read_text(const std::string& path, bool first) {
    text::PlainReader reader(path);
    file_.begin_entry();
    if (first) put_symbol(tokenizer_.bos());
    bool more = true, begins = true, holds_text = false;
    while (more) {
      std::vector<Piece> pieces;
      size_t bytes = 0;
      for (std::string chunk; bytes < kTogetherBytes && (more = reader.next(chunk)); begins = false) {
        bytes += chunk.size();
        pieces.push_back({std::move(chunk), begins});
      }
      encode_all(pieces);
      for (const Piece& piece : pieces) {
        put(piece);
        holds_text = holds_text || piece.words > std::count(piece.text.begin(), piece.text.end(), '\n');
      }
    }
    put_symbol(tokenizer_.eos());
    if (holds_text) ++counts_.documents;
  }

  void read_documents(const std::string& path) {
    io::LineReader reader(path, text::document_limits());
    bool more = true;
    while (more) {
      std::vector<Piece> pieces;
      size_t bytes = 0;
      for (std::string line; bytes < kTogetherBytes && (more = reader.next(line));) {
        bytes += line.size();
        try {
          pieces.push_back({text::document_of(line, fmt::format("{}:{}", path, reader.line_number()), format_.text_field)});
        } catch (const Error& error) {
          if (!format_.skip_bad) throw;
          log::warn("left out: {}", error.what());
          ++counts_.bad;
        }
      }
      encode_all(pieces);
      for (const Piece& piece : pieces) {
        if (piece.ids.empty()) {
          ++counts_.empty;
          continue;
        }
        ++counts_.documents;
        file_.begin_entry();
        put_symbol(tokenizer_.bos());
        put(piece);
        put_symbol(tokenizer_.eos());
      }
    }
  }

  void put_symbol(int32_t id) {
    if (id >= 0) file_.put({id});
  }

  void put(const Piece& piece) {
    file_.put(piece.ids);
    counts_.words += piece.words;
    counts_.bytes += static_cast<int64_t>(piece.text.size());
    progress_.show(counts_.bytes);
  }

  const StreamFormat& format_;
  const text::Tokenizer& tokenizer_;
  TokenFileWriter file_;
  ReadingProgress progress_;
  StreamCounts counts_;
};

}  // namespace

StreamCorpus::StreamCorpus(const std::vector<std::string>& files, const StreamFormat& format, const text::Tokenizer& tokenizer, const std::string& cache,
                           bool progress) {
  Fingerprint fingerprint;
  for (const std::string& path : files) fingerprint.add_file(path);
  fingerprint.add(uint64_t{format.skip_bad}).add(std::string_view(format.kind)).add(std::string_view(format.kind == "text" ? "" : format.text_field));
  add_tokenizer(fingerprint, tokenizer);
  if (file_.open(cache, kKind, &fingerprint, counts_)) return;
  Builder(format, tokenizer, cache, progress).build(files, fingerprint);
  if (!file_.open(cache, kKind, &fingerprint, counts_)) fail("{} cannot be read back", cache);
}

StreamCorpus::StreamCorpus(const std::string& cache) {
  if (!file_.open(cache, kKind, nullptr, counts_)) fail_not_shared(cache);
}

void add_tokenizer(Fingerprint& fingerprint, const text::Tokenizer& tokenizer) {
  fingerprint.add(static_cast<uint64_t>(tokenizer.bos())).add(static_cast<uint64_t>(tokenizer.eos()));
  for (int32_t id = 0; id < tokenizer.size(); ++id) fingerprint.add(std::string_view(tokenizer.piece(id))).add(uint64_t{tokenizer.is_special(id)});
  // Merges and the like, which pieces do not tell. Not the file's identity: a run keeps a copy of its tokeniser.
  if (!tokenizer.path().empty()) fingerprint.add(std::string_view(io::read_file(tokenizer.path())));
}

}  // namespace seqmill::data
