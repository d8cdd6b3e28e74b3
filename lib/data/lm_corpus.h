#pragma once
// What language models are pre-trained on: one stream of token ids, read and tokenised once (data/token_file.h).

#include <cstdint>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "io/line_reader.h"
#include "text/tokenizer.h"

namespace seqmill::data {

struct StreamFormat {
  /// "text": plain files, whose lines keep their line ends. The stream begins with the begin symbol where the tokeniser has one, and a file ends with the end
  /// symbol. "jsonl": a document a line; each is framed by both symbols.
  std::string kind = "text";
  std::string text_field = "text";  ///< of a JSON line, which holds the document
  bool skip_bad = false;            ///< leave out JSON lines that hold none, instead of stopping
};

/// What the text was, so that its perplexity can be told in any unit.
struct StreamCounts {
  int64_t documents = 0;  ///< that hold text; with "text", files
  int64_t empty = 0;      ///< documents left out
  int64_t bad = 0;        ///< JSON lines left out
  int64_t words = 0;      ///< white-space separated ones and line ends: text::count_words
  int64_t bytes = 0;
};

class StreamCorpus {
 public:
  /// `cache` names the file to write or use again. None of `files`, plain or .gz, can be standard input. Throws Error for bad text (file and line) and for a
  /// file without any. `progress`: a status line while it works.
  StreamCorpus(const std::vector<std::string>& files, const StreamFormat& format, const text::Tokenizer& tokenizer, const std::string& cache, bool progress);
  /// What another process has just made of its text.
  explicit StreamCorpus(const std::string& cache);

  int64_t size() const { return file_.size(); }
  const StreamCounts& counts() const { return counts_; }
  /// Tokens begin .. end - 1.
  Tokens slice(int64_t begin, int64_t end) const { return Tokens(file_.tokens() + begin, file_.tokens() + end); }
  /// A hash of the lengths of all documents.
  uint64_t shape() const { return file_.shape(); }

 private:
  StreamCounts counts_;
  TokenFile file_;  ///< an entry a document
};

/// All that ids depend on.
void add_tokenizer(Fingerprint& fingerprint, const text::Tokenizer& tokenizer);

}  // namespace seqmill::data
