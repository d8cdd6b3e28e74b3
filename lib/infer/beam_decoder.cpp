#include "infer/beam_decoder.h"

#include <algorithm>
#include <cmath>

#include "base/signals.h"

namespace seqmill::infer {

BeamDecoder::BeamDecoder(SequenceDecoder& decoder, int64_t vocabulary, int64_t choices, const std::vector<int32_t>& ends,
                         const std::vector<const Tokens*>& prompts)
    : decoder_(decoder), vocabulary_(vocabulary), choices_(choices), ends_(ends), prompts_(prompts.size()),
      first_(prompts.size() * static_cast<size_t>(vocabulary)) {
  std::vector<SequenceDecoder::Beginning> beginnings;
  for (size_t i = 0; i < prompts.size(); ++i) beginnings.push_back({prompts[i], first_.data() + i * static_cast<size_t>(vocabulary)});
  rows_ = decoder_.begin_all(beginnings);
}

BeamDecoder::~BeamDecoder() {
  for (const SequenceDecoder::Handle row : rows_) decoder_.end(row);
}

float* BeamDecoder::advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) {
  throw_if_stopped();
  // A parent's first child goes on in its place, the others branch off before that.
  std::vector<SequenceDecoder::Handle> children;
  std::vector<bool> has_child(rows_.size(), false);
  for (const int32_t parent : parents) {
    const auto place = static_cast<size_t>(parent);
    children.push_back(has_child[place] ? decoder_.branch(rows_[place]) : rows_[place]);
    has_child[place] = true;
  }
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (!has_child[row]) decoder_.end(rows_[row]);
  }
  rows_ = std::move(children);
  float* logprobs = nullptr;
  if (first_.empty()) {
    logprobs = decoder_.advance(rows_, tokens);
  } else {
    for (const int32_t parent : parents) {
      const float* row = first_.data() + parent * vocabulary_;
      chosen_.insert(chosen_.end(), row, row + vocabulary_);
    }
    first_.clear();
    logprobs = chosen_.data();
  }
  for (size_t row = 0; row < rows_.size(); ++row) restrict(logprobs + static_cast<int64_t>(row) * vocabulary_);
  return logprobs;
}

void BeamDecoder::restrict(float* logprobs) const {
  float& end = logprobs[ends_[0]];
  for (size_t i = 1; i < ends_.size(); ++i) {
    float& other = logprobs[ends_[i]];
    end = std::isnan(other) ? other : std::max(end, other);
    other = -INFINITY;
  }
  std::fill(logprobs + choices_, logprobs + vocabulary_, -INFINITY);
}

}  // namespace seqmill::infer
