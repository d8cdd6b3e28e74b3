#include "text/cut_text.h"

namespace seqmill::text {
namespace {

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

}  // namespace

CutText::CutText(const Tokenizer& tokenizer, const std::string& text, Keep keep)
    : tokenizer_(tokenizer), text_(text), keep_(keep), ids_(tokenizer.encode(text)) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (begins_character(text[at])) sizes_.push_back(keep == Keep::kFirst ? at : text.size() - at);
  }
  if (keep == Keep::kFirst) {
    sizes_.push_back(text.size());
  } else {
    sizes_.push_back(0);
    std::reverse(sizes_.begin(), sizes_.end());
  }
}

std::string CutText::characters(int64_t count) const {
  const size_t size = sizes_[static_cast<size_t>(std::clamp<int64_t>(count, 0, static_cast<int64_t>(sizes_.size()) - 1))];
  return keep_ == Keep::kFirst ? text_.substr(0, size) : text_.substr(text_.size() - size);
}

std::string CutText::at_most(int64_t tokens) const {
  if (tokens >= this->tokens()) return text_;
  if (tokens <= 0) return "";
  const std::vector<int32_t> kept = keep_ == Keep::kFirst ? std::vector<int32_t>(ids_.begin(), ids_.begin() + tokens) : std::vector<int32_t>(ids_.end() - tokens, ids_.end());
  // What those tokens stand for is the part that is looked for, or near it: a part may fall into other tokens than the whole does, and a tokeniser may normalise.
  const size_t bytes = tokenizer_.decode(kept, true).size();
  const int64_t guess = std::upper_bound(sizes_.begin(), sizes_.end(), bytes) - sizes_.begin() - 1;
  const auto size = [&](int64_t count) { return static_cast<int64_t>(tokenizer_.encode(characters(count)).size()); };
  return characters(largest_fitting(0, static_cast<int64_t>(sizes_.size()) - 1, guess, tokens, size));
}

}  // namespace seqmill::text
