#include "data/prompt_trees.h"

#include <algorithm>

#include "base/error.h"

namespace seqmill::data {
namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

class Builder {
 public:
  Builder(LastTokens last, Prompts prompts) : last_(last), prompts_(prompts) {}

  void add(const PromptTree& tree) {
    if (tree.prompt.empty() || tree.endings.empty()) fail("a prompt without tokens, or one that nothing goes on with");
    batch_.counts.push_back(static_cast<int64_t>(tree.endings.size()));
    const auto prompt = static_cast<int64_t>(tree.prompt.size());
    int64_t first = 0;  // the row of the prompt's first token
    for (size_t e = 0; e < tree.endings.size(); ++e) {
      const Tokens& ending = tree.endings[e];
      if (ending.empty()) fail("an ending without tokens");
      const bool with_prompt = e == 0 || prompts_ == Prompts::kCopied;
      int64_t begin = row();
      if (with_prompt) {
        first = begin;
        put(tree.prompt, prompt, 0);
      }
      if (with_prompt && prompts_ == Prompts::kApart) {
        add_span(begin, first, prompt, row());
        begin = row();
      }
      const int64_t own = row(), length = static_cast<int64_t>(ending.size()), read = last_ == LastTokens::kRead ? length : length - 1;
      put(ending, read, prompt);
      for (int64_t t = 0; t < length; ++t) {
        rows_.push_back(t == 0 ? first + prompt - 1 : own + t - 1);
        targets_.push_back(ending[static_cast<size_t>(t)]);
        read_.push_back(own + t);
      }
      batch_.lengths.push_back(length);
      lasts_.push_back(own + read - 1);
      add_span(begin, first, prompt, own);
      if (begin > first && row() > begin) shares_ = true;
    }
  }

  TreeBatch finish() {
    PackedTokens& input = batch_.input;
    input.tokens = to_tensor(tokens_);
    input.positions = to_tensor(positions_);
    input.spans = queries_;
    if (shares_) {
      input.key_rows = to_tensor(key_rows_);
      input.key_spans = tensor::Spans::packed(key_lengths_);
    }
    if (last_ == LastTokens::kRead) {
      batch_.last = to_tensor(lasts_);
      batch_.read = to_tensor(read_);
    }
    batch_.rows = to_tensor(rows_);
    batch_.targets = to_tensor(targets_);
    return std::move(batch_);
  }

 private:
  int64_t row() const { return static_cast<int64_t>(tokens_.size()); }

  void put(const Tokens& tokens, int64_t count, int64_t position) {
    for (int64_t i = 0; i < count; ++i) {
      tokens_.push_back(tokens[static_cast<size_t>(i)]);
      positions_.push_back(position + i);
    }
  }

  /// Rows from `begin` on are queries; their keys are those of the prompt, and those from `own` on.
  void add_span(int64_t begin, int64_t first, int64_t prompt, int64_t own) {
    const int64_t end = row();
    if (begin == end) return;  // nothing of this ending is read
    queries_.begin.push_back(begin);
    queries_.length.push_back(end - begin);
    for (int64_t r = first; r < first + prompt; ++r) key_rows_.push_back(r);
    for (int64_t r = own; r < end; ++r) key_rows_.push_back(r);
    key_lengths_.push_back(prompt + end - own);
  }

  LastTokens last_;
  Prompts prompts_;
  TreeBatch batch_;
  std::vector<int64_t> tokens_, positions_, rows_, targets_, lasts_, read_, key_rows_, key_lengths_;
  tensor::Spans queries_;
  bool shares_ = false;
};

}  // namespace

int64_t PromptTree::tokens() const {
  auto sum = static_cast<int64_t>(prompt.size());
  for (const Tokens& ending : endings) sum += static_cast<int64_t>(ending.size());
  return sum;
}

void TreeBatch::to(at::Device device) {
  input.to(device);
  if (last.defined()) last = last.to(device);
  if (read.defined()) read = read.to(device);
  rows = rows.to(device);
  targets = targets.to(device);
}

TreeBatch make_tree_batch(const std::vector<const PromptTree*>& trees, LastTokens last, Prompts prompts) {
  Builder builder(last, prompts);
  for (const PromptTree* tree : trees) builder.add(*tree);
  return builder.finish();
}

}  // namespace seqmill::data
