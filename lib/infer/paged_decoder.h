#pragma once
// Sequences under way, and the scoring of given ones, for whatever keeps keys and values in pages (infer/key_pages.h).

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "infer/language_model.h"
#include "infer/share.h"
#include "kernel/float_kernels.h"

namespace seqmill::infer {

/// Rows of what is computed together: rows row .. row + count - 1 are the positions start .. of a sequence that has room for them.
template <typename Sequence>
struct SequenceSpan {
  Sequence* sequence;
  int64_t row, count, start;
};

/// What is to be known of rows that went through the layers: kLasts, of the last row of each span.
enum class Wanted { kAll, kLasts, kNothing };

/// Rows that go through the layers together: longer sequences take turns, so that memory stays bounded.
constexpr int64_t kRowsTogether = 512;

/// Checks of what a model is asked for.
inline void check_token(int32_t token, int64_t vocabulary) {
  if (token < 0 || token >= vocabulary) fail("token {} is outside the vocabulary of {}", token, vocabulary);
}
inline void check_length(int64_t tokens, int64_t positions) {
  if (tokens > positions) fail("a sequence of {} tokens is longer than the {} positions of the model (model.max-positions)", tokens, positions);
}

/// A decoder of a LanguageModel. `Layers`, built of the model and a number of threads, compute:
///   Sequence                                       what is kept of one, with length(); empty at first
///   make_room(sequence, count)                     for so many more tokens, that no other sequence sees
///   extend(sequence, count)                        they are there
///   branch(sequence), end(sequence)
///   run(spans, tokens, rows, wanted)               all layers over spans (SequenceSpan) of tokens, whose rows follow one another
///   logits(first, count, out)                      [count, vocabulary] of rows of the last run; of Wanted::kLasts there is one a span
///   logits_room()                                  memory for them
template <typename Model, typename Layers>
class PagedDecoder final : public SequenceDecoder {
 public:
  using Sequence = typename Layers::Sequence;

  PagedDecoder(const Model& model, int threads) : model_(model), threads_(threads), layers_(model, threads) {}

  Handle begin(const Tokens& tokens, float* logprobs) override {
    check(tokens);
    const auto length = static_cast<int64_t>(tokens.size());
    Sequence sequence;
    try {
      for (int64_t first = 0; first < length; first += kRowsTogether) {
        const int64_t count = std::min(kRowsTogether, length - first);
        layers_.make_room(sequence, count);
        const bool wanted = logprobs && first + count == length;
        layers_.run({{&sequence, 0, count, first}}, tokens.data() + first, count, wanted ? Wanted::kLasts : Wanted::kNothing);
        layers_.extend(sequence, count);
      }
      if (logprobs) find_logprobs(1, logprobs);
      return keep(std::move(sequence));
    } catch (...) {
      layers_.end(sequence);
      throw;
    }
  }

  std::vector<Handle> begin_all(const std::vector<Beginning>& beginnings) override {
    for (const Beginning& beginning : beginnings) check(*beginning.tokens);
    std::vector<Handle> handles;
    for (size_t first = 0, end; first < beginnings.size(); first = end) {
      auto rows = static_cast<int64_t>(beginnings[first].tokens->size());
      for (end = first + 1; end < beginnings.size() && rows + static_cast<int64_t>(beginnings[end].tokens->size()) <= kRowsTogether; ++end) {
        rows += static_cast<int64_t>(beginnings[end].tokens->size());
      }
      if (end == first + 1) handles.push_back(begin(*beginnings[first].tokens, beginnings[first].logprobs));
      else begin_together(beginnings.data() + first, beginnings.data() + end, handles);
    }
    return handles;
  }

  Handle branch(Handle sequence) override { return keep(layers_.branch(sequences_[index_of(sequence)])); }

  void end(Handle sequence) override {
    layers_.end(sequences_[index_of(sequence)]);
    idle_.push_back(sequence);
  }

  float* advance(const std::vector<Handle>& sequences, const std::vector<int32_t>& tokens) override {
    const auto rows = static_cast<int64_t>(sequences.size());
    // Nothing has changed when something is wrong.
    handles_ = sequences;
    std::sort(handles_.begin(), handles_.end());
    const auto twice = std::adjacent_find(handles_.begin(), handles_.end());
    if (twice != handles_.end()) fail("sequence {} was to go on twice in one step", *twice);
    spans_.clear();
    for (size_t i = 0; i < sequences.size(); ++i) {
      Sequence& sequence = sequences_[index_of(sequences[i])];
      check_length(sequence.length() + 1, model_.max_positions());
      check_token(tokens.at(i), model_.vocabulary_size());
      spans_.push_back({&sequence, static_cast<int64_t>(i), 1, sequence.length()});
    }
    for (const SequenceSpan<Sequence>& span : spans_) layers_.make_room(*span.sequence, 1);
    layers_.run(spans_, tokens.data(), rows, Wanted::kAll);
    for (const SequenceSpan<Sequence>& span : spans_) layers_.extend(*span.sequence, 1);
    float* out = layers_.logits_room().room_for(rows * model_.vocabulary_size());
    find_logprobs(rows, out);
    return out;
  }

 private:
  void check(const Tokens& tokens) const {
    if (tokens.empty()) fail("a sequence of no tokens has no next one: it needs a begin symbol at least");
    check_length(static_cast<int64_t>(tokens.size()), model_.max_positions());
    for (const int32_t token : tokens) check_token(token, model_.vocabulary_size());
  }

  /// Of kRowsTogether tokens at most.
  void begin_together(const Beginning* begin, const Beginning* end, std::vector<Handle>& handles) {
    std::vector<Sequence> sequences(static_cast<size_t>(end - begin));
    try {
      Tokens tokens;
      std::vector<SequenceSpan<Sequence>> spans;
      for (size_t i = 0; i < sequences.size(); ++i) {
        const auto count = static_cast<int64_t>(begin[i].tokens->size());
        layers_.make_room(sequences[i], count);
        spans.push_back({&sequences[i], static_cast<int64_t>(tokens.size()), count, 0});
        tokens.insert(tokens.end(), begin[i].tokens->begin(), begin[i].tokens->end());
      }
      layers_.run(spans, tokens.data(), static_cast<int64_t>(tokens.size()), Wanted::kLasts);
      for (const SequenceSpan<Sequence>& span : spans) layers_.extend(*span.sequence, span.count);
      const int64_t size = model_.vocabulary_size(), rows = static_cast<int64_t>(sequences.size());
      float* logprobs = layers_.logits_room().room_for(rows * size);
      find_logprobs(rows, logprobs);
      for (int64_t i = 0; i < rows; ++i) {
        if (begin[i].logprobs) std::copy_n(logprobs + i * size, size, begin[i].logprobs);
      }
    } catch (...) {
      for (Sequence& sequence : sequences) layers_.end(sequence);
      throw;
    }
    for (Sequence& sequence : sequences) handles.push_back(keep(std::move(sequence)));
  }

  size_t index_of(Handle sequence) const {
    const bool known = sequence >= 0 && static_cast<size_t>(sequence) < sequences_.size() && sequences_[static_cast<size_t>(sequence)].length() > 0;
    if (!known) fail("there is no sequence {} under way", sequence);
    return static_cast<size_t>(sequence);
  }

  Handle keep(Sequence sequence) {
    if (idle_.empty()) {
      idle_.reserve(sequences_.size() + 1);
      sequences_.push_back(std::move(sequence));
      return static_cast<Handle>(sequences_.size() - 1);
    }
    const Handle handle = idle_.back();
    idle_.pop_back();
    sequences_[static_cast<size_t>(handle)] = std::move(sequence);
    return handle;
  }

  void find_logprobs(int64_t rows, float* out) {
    const int64_t size = model_.vocabulary_size();
    layers_.logits(0, rows, out);
    share(threads_, rows, grain_of(16 * size), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) kernel::float_kernels().log_softmax(out + r * size, size);
    });
  }

  const Model& model_;
  int threads_;
  Layers layers_;
  std::vector<Sequence> sequences_;
  std::vector<Handle> idle_, handles_;
  std::vector<SequenceSpan<Sequence>> spans_;
};

/// Log-probabilities of given tokens by such layers: short sequences together, longer ones alone, in parts.
template <typename Model, typename Layers>
class PagedScorer {
 public:
  using Sequence = typename Layers::Sequence;

  PagedScorer(const Model& model, int threads) : model_(model), threads_(threads), layers_(model, threads) {}

  std::vector<double> operator()(const std::vector<Tokens>& sequences) {
    for (const Tokens& sequence : sequences) {
      check_length(inputs(sequence), model_.max_positions());
      for (const int32_t token : sequence) check_token(token, model_.vocabulary_size());
    }
    std::vector<double> logprobs;
    for (size_t begin = 0, end; begin < sequences.size(); begin = end) {
      int64_t rows = inputs(sequences[begin]);
      for (end = begin + 1; end < sequences.size() && rows + inputs(sequences[end]) <= kRowsTogether; ++end) rows += inputs(sequences[end]);
      score(sequences.data() + begin, sequences.data() + end, logprobs);
    }
    return logprobs;
  }

 private:
  /// The last token is no input.
  static int64_t inputs(const Tokens& sequence) { return std::max<int64_t>(0, static_cast<int64_t>(sequence.size()) - 1); }

  /// Of one sequence, or of several that have kRowsTogether tokens at most.
  void score(const Tokens* begin, const Tokens* end, std::vector<double>& logprobs) {
    std::vector<Sequence> kept(static_cast<size_t>(end - begin));
    const int64_t longest = inputs(*begin);  // of several, none exceeds one turn
    for (int64_t start = 0; start < std::max<int64_t>(longest, 1); start += kRowsTogether) {
      std::vector<SequenceSpan<Sequence>> spans;
      Tokens tokens, targets;
      for (const Tokens* sequence = begin; sequence < end; ++sequence) {
        const int64_t count = std::min(kRowsTogether, inputs(*sequence) - start);
        if (count <= 0) continue;
        Sequence& pages = kept[static_cast<size_t>(sequence - begin)];
        layers_.make_room(pages, count);
        spans.push_back({&pages, static_cast<int64_t>(tokens.size()), count, start});
        tokens.insert(tokens.end(), sequence->begin() + start, sequence->begin() + start + count);
        targets.insert(targets.end(), sequence->begin() + start + 1, sequence->begin() + start + 1 + count);
      }
      if (tokens.empty()) break;
      layers_.run(spans, tokens.data(), static_cast<int64_t>(tokens.size()), Wanted::kAll);
      for (const SequenceSpan<Sequence>& span : spans) layers_.extend(*span.sequence, span.count);
      find_logprobs(targets, logprobs);
    }
    for (Sequence& sequence : kept) layers_.end(sequence);
  }

  void find_logprobs(const Tokens& targets, std::vector<double>& logprobs) {
    constexpr int64_t kNear = 96;  // rows whose logits are still near when they are summed
    const int64_t size = model_.vocabulary_size(), rows = static_cast<int64_t>(targets.size());
    const size_t before = logprobs.size();
    logprobs.resize(before + targets.size());
    for (int64_t first = 0; first < rows; first += kNear) {
      const int64_t count = std::min(kNear, rows - first);
      float* logits = layers_.logits_room().room_for(kNear * size);
      layers_.logits(first, count, logits);
      share(threads_, count, grain_of(16 * size), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          float nll;
          kernel::float_kernels().cross_entropy(logits + r * size, nullptr, size, targets[static_cast<size_t>(first + r)], 0, false, &nll);
          logprobs[before + static_cast<size_t>(first + r)] = -static_cast<double>(nll);
        }
      });
    }
  }

  const Model& model_;
  int threads_;
  Layers layers_;
};

}  // namespace seqmill::infer
