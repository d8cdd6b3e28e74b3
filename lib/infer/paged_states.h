#pragma once
// States of texts, for whatever keeps keys and values in pages (infer/key_pages.h): a prompt is computed once for all that goes on it.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "infer/paged_decoder.h"

namespace seqmill::infer {

/// LanguageModel::last_states() or mean_states() by layers such as PagedDecoder takes, with one more, of a model that says by rows_together() how many rows of a text may go through them at once:
///   states(first, count, out)     [count, dim] of rows of the last run, what the output layer multiplies; of Wanted::kLasts there is one a span
template <typename Model, typename Layers>
class PagedStates {
 public:
  using Sequence = typename Layers::Sequence;
  using Tree = LanguageModel::Tree;

  PagedStates(const Model& model, Pooling pooling, int threads) : model_(model), pooling_(pooling), layers_(model, threads) {}

  std::vector<float> operator()(const std::vector<Tree>& trees) {
    size_t states = 0;
    for (const Tree& tree : trees) {
      check(tree);
      states += std::max<size_t>(1, tree.endings.size());
    }
    std::vector<float> out(states * static_cast<size_t>(model_.dim()));
    std::vector<Sequence> prompts(trees.size());
    std::vector<Text> beginnings, endings;
    float* next = out.data();
    for (size_t i = 0; i < trees.size(); ++i) {
      beginnings.push_back({&trees[i].prompt, &prompts[i], trees[i].endings.empty() ? next : nullptr});
      for (const Tokens& ending : trees[i].endings) endings.push_back({&ending, &prompts[i], next + static_cast<int64_t>(&ending - trees[i].endings.data()) * model_.dim()});
      next += std::max<int64_t>(1, static_cast<int64_t>(trees[i].endings.size())) * model_.dim();
    }
    for_each_run(beginnings, [&](const Text* begin, const Text* end) {
      std::vector<Sequence*> sequences;
      for (const Text* text = begin; text < end; ++text) sequences.push_back(text->prompt);
      compute(begin, sequences);
    });
    for_each_run(endings, [&](const Text* begin, const Text* end) {
      std::vector<Sequence> branches;
      std::vector<Sequence*> sequences;
      for (const Text* text = begin; text < end; ++text) branches.push_back(layers_.branch(*text->prompt));
      for (Sequence& branch : branches) sequences.push_back(&branch);
      compute(begin, sequences);
      for (Sequence& branch : branches) layers_.end(branch);
    });
    return out;
  }

 private:
  /// What goes on a prompt, or the prompt itself.
  struct Text {
    const Tokens* tokens;
    Sequence* prompt;
    float* state;  ///< that stands for it, zeros at first; null: nobody asks
  };

  void check(const Tree& tree) const {
    if (tree.prompt.empty()) fail("a sequence of no tokens has no state: it needs a begin symbol at least");
    const auto check_all = [&](const Tokens& tokens) {
      for (const int32_t token : tokens) check_token(token, model_.vocabulary_size());
    };
    check_all(tree.prompt);
    check_length(static_cast<int64_t>(tree.prompt.size()), model_.max_positions());
    for (const Tokens& ending : tree.endings) {
      if (ending.empty()) fail("nothing goes on a prompt of {} tokens: an ending needs one token at least", tree.prompt.size());
      check_all(ending);
      check_length(static_cast<int64_t>(tree.prompt.size() + ending.size()), model_.max_positions());
    }
  }

  /// Texts that have kRowsTogether tokens at most, or one that has more.
  template <typename Work>
  static void for_each_run(const std::vector<Text>& texts, Work work) {
    for (size_t begin = 0, end; begin < texts.size(); begin = end) {
      auto rows = static_cast<int64_t>(texts[begin].tokens->size());
      for (end = begin + 1; end < texts.size() && rows + static_cast<int64_t>(texts[end].tokens->size()) <= kRowsTogether; ++end) {
        rows += static_cast<int64_t>(texts[end].tokens->size());
      }
      work(texts.data() + begin, texts.data() + end);
    }
  }

  /// Texts of one run, each behind what its sequence has.
  void compute(const Text* texts, const std::vector<Sequence*>& sequences) {
    const auto longest = static_cast<int64_t>(texts[0].tokens->size());  // of several, none exceeds one turn
    const bool asked = std::any_of(texts, texts + sequences.size(), [](const Text& text) { return text.state != nullptr; });
    for (int64_t first = 0; first < longest; first += model_.rows_together()) {
      std::vector<SequenceSpan<Sequence>> spans;
      Tokens tokens;
      Wanted wanted = asked && pooling_ == Pooling::kMean ? Wanted::kAll : Wanted::kNothing;
      for (size_t i = 0; i < sequences.size(); ++i) {
        const Tokens& all = *texts[i].tokens;
        const int64_t count = std::min(model_.rows_together(), static_cast<int64_t>(all.size()) - first), start = sequences[i]->length();
        layers_.make_room(*sequences[i], count);
        spans.push_back({sequences[i], static_cast<int64_t>(tokens.size()), count, start});
        tokens.insert(tokens.end(), all.begin() + first, all.begin() + first + count);
        if (pooling_ == Pooling::kLast && texts[i].state && first + count == static_cast<int64_t>(all.size())) wanted = Wanted::kLasts;
      }
      layers_.run(spans, tokens.data(), static_cast<int64_t>(tokens.size()), wanted);
      for (const SequenceSpan<Sequence>& span : spans) layers_.extend(*span.sequence, span.count);
      if (wanted == Wanted::kNothing) continue;
      for (size_t i = 0; i < sequences.size(); ++i) {
        if (!texts[i].state) continue;
        if (pooling_ == Pooling::kLast) layers_.states(static_cast<int64_t>(i), 1, texts[i].state);
        else add_mean(spans[i], static_cast<double>(texts[i].tokens->size()), texts[i].state);
      }
    }
  }

  /// Of a text of `size` tokens, the part that the rows of a span have in its mean.
  void add_mean(const SequenceSpan<Sequence>& span, double size, float* mean) {
    const int64_t dim = model_.dim();
    float* states = rows_.room_for(span.count * dim);
    layers_.states(span.row, span.count, states);
    for (int64_t d = 0; d < dim; ++d) {
      double sum = 0;
      for (int64_t row = 0; row < span.count; ++row) sum += static_cast<double>(states[row * dim + d]);
      mean[d] += static_cast<float>(sum / size);
    }
  }

  const Model& model_;
  const Pooling pooling_;
  Layers layers_;
  Buffer<float> rows_;
};

}  // namespace seqmill::infer
