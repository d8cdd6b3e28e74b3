#include "text/plain_text.h"

#include <algorithm>

#include "text/unicode.h"

namespace seqmill::text {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 16;
constexpr size_t kMostBytes = size_t{1} << 24;

/// Also true of an empty line. Pre-tokenisers keep runs of white space together, so that a cut within one would be seen.
bool begins_with_space(std::string_view line) {
  size_t position = 0;
  return line.empty() || is_space(next_code_point(line, position));
}

}  // namespace

PlainReader::PlainReader(const std::string& path) : reader_(path, {static_cast<int64_t>(kMostBytes), false}), more_(reader_.next(line_)) {}

bool PlainReader::next(std::string& chunk) {
  chunk.clear();
  while (more_) {
    chunk += line_;
    if (reader_.had_line_feed()) chunk += '\n';
    more_ = reader_.next(line_);
    if (chunk.size() >= kMostBytes || (chunk.size() >= kChunkBytes && more_ && !begins_with_space(line_))) break;
  }
  return !chunk.empty();
}

std::vector<int32_t> encode_chunk(const Tokenizer& tokenizer, std::string_view chunk, bool begins) {
  return begins ? tokenizer.encode(chunk) : tokenizer.encode_continued(chunk);
}

int64_t count_words(std::string_view text) {
  std::vector<std::string_view> words;
  split_words(text, words);
  return static_cast<int64_t>(words.size()) + std::count(text.begin(), text.end(), '\n');
}

}  // namespace seqmill::text
