#pragma once
// Plain text as it is, line ends and all, however long: read and tokenised in chunks, which follow from the text alone. Training, validation and scoring
// tokenise text so, and get the same tokens.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/line_reader.h"
#include "text/tokenizer.h"

namespace seqmill::text {

/// Reads a file, a .gz file or "-". Throws Error as io::LineReader does; a line may have 16 MB.
class PlainReader {
 public:
  explicit PlainReader(const std::string& path);
  /// The next chunk, which ends behind the first line end past 64 KB that no white space follows (past 16 MB, behind any line end); false at the end.
  bool next(std::string& chunk);

 private:
  io::LineReader reader_;
  std::string line_;  ///< the one after those handed out
  bool more_;
};

/// Ids of a chunk, which begins its text or goes on it.
std::vector<int32_t> encode_chunk(const Tokenizer& tokenizer, std::string_view chunk, bool begins);

/// What perplexities per word are over: words between white space, and line ends. That of a text is the sum of its chunks'.
int64_t count_words(std::string_view text);

}  // namespace seqmill::text
