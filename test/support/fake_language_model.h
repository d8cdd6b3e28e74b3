#pragma once
// A language model and a tokeniser without weights, for tests of what is built on them.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "infer/language_model.h"
#include "text/chat.h"

namespace seqmill::test {

using infer::Tokens;

/// Log-probabilities of what follows any history. They depend on the history alone, so that every way of computing them gives the same bits.
using Distribution = std::function<std::vector<float>(const Tokens& history)>;

inline std::vector<float> normalised(std::vector<float> logits) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  for (float& logit : logits) logit = static_cast<float>(static_cast<double>(logit) - std::log(sum));
  return logits;
}

/// Logits of normal size that a hash of the history gives.
inline Distribution hashed_distribution(int64_t vocabulary, double spread = 1.5) {
  return [=](const Tokens& history) {
    uint64_t key = 7;
    for (const int32_t token : history) key = random_bits(key, static_cast<uint64_t>(token));
    Rng rng(key, "fake");
    std::vector<float> logits;
    for (int64_t i = 0; i < vocabulary; ++i) logits.push_back(static_cast<float>(spread * rng.normal()));
    return normalised(std::move(logits));
  };
}

class FakeLanguageModel final : public infer::LanguageModel {
 public:
  FakeLanguageModel(Distribution distribution, int64_t vocabulary, int64_t positions = 1 << 20)
      : distribution_(std::move(distribution)), vocabulary_(vocabulary), positions_(positions) {}

  int64_t vocabulary_size() const override { return vocabulary_; }
  int64_t max_positions() const override { return positions_; }
  std::unique_ptr<infer::SequenceDecoder> start(int) const override { return std::make_unique<Decoder>(*this); }

  std::vector<double> score(const std::vector<Tokens>& sequences, int) const override {
    std::vector<double> scores;
    for (const Tokens& sequence : sequences) {
      if (static_cast<int64_t>(sequence.size()) - 1 > positions_) fail("a sequence of {} tokens", sequence.size());
      for (size_t i = 1; i < sequence.size(); ++i) {
        scores.push_back(distribution_({sequence.begin(), sequence.begin() + static_cast<int64_t>(i)})[static_cast<size_t>(sequence[i])]);
      }
      scored += static_cast<int64_t>(sequence.size());
    }
    return scores;
  }

  // States are what the distribution gives, and the output layer leaves them as they are.
  int64_t dim() const override { return vocabulary_; }
  std::vector<float> last_states(const std::vector<Tree>& trees, int) const override {
    std::vector<float> states;
    const auto add = [&](const Tokens& history) {
      if (static_cast<int64_t>(history.size()) > positions_) fail("a sequence of {} tokens", history.size());
      const std::vector<float> state = distribution_(history);
      states.insert(states.end(), state.begin(), state.end());
    };
    for (const Tree& tree : trees) {
      encoded += static_cast<int64_t>(tree.prompt.size());
      if (tree.endings.empty()) add(tree.prompt);
      for (const Tokens& ending : tree.endings) {
        encoded += static_cast<int64_t>(ending.size());
        Tokens history = tree.prompt;
        history.insert(history.end(), ending.begin(), ending.end());
        add(history);
      }
    }
    return states;
  }
  std::vector<float> mean_states(const std::vector<Tree>& trees, int) const override {
    std::vector<float> means;
    for (const Tree& tree : trees) {
      encoded += static_cast<int64_t>(tree.prompt.size());
      for (const Tokens& ending : tree.endings.empty() ? std::vector<Tokens>{tree.prompt} : tree.endings) {
        if (!tree.endings.empty()) encoded += static_cast<int64_t>(ending.size());
        Tokens history = tree.endings.empty() ? Tokens() : tree.prompt;
        std::vector<double> sum(static_cast<size_t>(vocabulary_));
        for (const int32_t token : ending) {
          history.push_back(token);
          const std::vector<float> state = distribution_(history);
          for (size_t d = 0; d < sum.size(); ++d) sum[d] += static_cast<double>(state[d]);
        }
        for (const double value : sum) means.push_back(static_cast<float>(value / static_cast<double>(ending.size())));
      }
    }
    return means;
  }
  std::vector<float> output_row(int32_t token) const override {
    std::vector<float> row(static_cast<size_t>(vocabulary_));
    row.at(static_cast<size_t>(token)) = 1;
    return row;
  }

  mutable std::atomic<int64_t> encoded{0}, steps{0}, rows{0}, most_rows{0}, alive{0}, scored{0};

 private:
  class Decoder final : public infer::SequenceDecoder {
   public:
    explicit Decoder(const FakeLanguageModel& model) : model_(model) {}
    ~Decoder() override { model_.alive -= static_cast<int64_t>(histories_.size()); }

    Handle begin(const Tokens& tokens, float* logprobs) override {
      if (tokens.empty()) fail("a sequence without tokens");
      model_.encoded += static_cast<int64_t>(tokens.size());
      const Handle handle = add(tokens);
      if (logprobs) write(tokens, logprobs);
      return handle;
    }
    Handle branch(Handle sequence) override { return add(histories_.at(sequence)); }
    void end(Handle sequence) override {
      if (histories_.erase(sequence) == 0) fail("no sequence {}", sequence);
      --model_.alive;
    }
    float* advance(const std::vector<Handle>& sequences, const std::vector<int32_t>& tokens) override {
      const auto rows = static_cast<int64_t>(sequences.size());
      logprobs_.assign(static_cast<size_t>(rows * model_.vocabulary_), 0);
      ++model_.steps;
      model_.rows += rows;
      if (rows > model_.most_rows) model_.most_rows = rows;
      for (size_t i = 0; i < sequences.size(); ++i) {
        Tokens& history = histories_.at(sequences[i]);
        history.push_back(tokens[i]);
        write(history, logprobs_.data() + static_cast<int64_t>(i) * model_.vocabulary_);
      }
      return logprobs_.data();
    }

   private:
    Handle add(const Tokens& tokens) {
      histories_[next_] = tokens;
      ++model_.alive;
      return next_++;
    }
    void write(const Tokens& history, float* logprobs) const {
      if (static_cast<int64_t>(history.size()) > model_.positions_) fail("a sequence of {} tokens", history.size());
      const std::vector<float> values = model_.distribution_(history);
      std::copy(values.begin(), values.end(), logprobs);
    }

    const FakeLanguageModel& model_;
    std::map<Handle, Tokens> histories_;
    Handle next_ = 0;
    std::vector<float> logprobs_;
  };

  Distribution distribution_;
  int64_t vocabulary_, positions_;
};

/// Pieces by their ids; the first two are the special tokens <s> and </s>. Text is cut into the longest pieces that fit.
class FakeTokenizer final : public text::Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces, bool has_bos = true) : pieces_(std::move(pieces)), has_bos_(has_bos) {
    pieces_.insert(pieces_.begin(), {"<s>", "</s>"});
  }
  /// Of the 256 bytes.
  static FakeTokenizer of_bytes() {
    std::vector<std::string> pieces;
    for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
    return FakeTokenizer(std::move(pieces));
  }

  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t bos() const override { return has_bos_ ? 0 : -1; }
  int32_t eos() const override { return 1; }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      int32_t best = -1;
      for (int32_t id = 2; id < size(); ++id) {
        const std::string& candidate = piece_of(id);
        if (text.substr(0, candidate.size()) == candidate && (best < 0 || candidate.size() > piece_of(best).size())) best = id;
      }
      if (best < 0) fail("no piece for '{}'", std::string(text));
      ids.push_back(best);
      text.remove_prefix(piece_of(best).size());
    }
    return ids;
  }
  /// A space in front is dropped unless the text continues another.
  std::string decode(const std::vector<int32_t>& ids, bool continues) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id >= size()) fail("token {} of {}", id, size());
      if (!is_special(id)) text += piece_of(id);
    }
    return !continues && !text.empty() && text[0] == ' ' ? text.substr(1) : text;
  }
  std::string piece(int32_t id) const override { return piece_of(id); }
  int32_t special(std::string_view text) const override { return text == "<s>" ? 0 : text == "</s>" ? 1 : -1; }
  bool is_special(int32_t id) const override { return id < 2; }
  const std::string& path() const override { return path_; }

 private:
  const std::string& piece_of(int32_t id) const { return pieces_[static_cast<size_t>(id)]; }

  std::vector<std::string> pieces_;
  bool has_bos_;
  std::string path_ = "fake";
};

/// The texts of all messages one behind the other, begun by the begin symbol, answers ended by the end symbol.
class FakeTemplate final : public text::ChatTemplate {
 public:
  /// Of an answer's text, a space in front is kept where it `continues` its prompt.
  explicit FakeTemplate(const text::Tokenizer& tokenizer, std::vector<int32_t> ends = {1}, bool continues = true)
      : tokenizer_(tokenizer), ends_(std::move(ends)), continues_(continues) {}

  const std::string& name() const override { return name_; }
  std::vector<int32_t> prompt(const std::vector<text::Message>& messages) const override { return conversation(messages).tokens; }
  text::ChatTokens conversation(const std::vector<text::Message>& messages) const override {
    text::ChatTokens result;
    const auto add = [&](int32_t token, bool learned) {
      result.tokens.push_back(token);
      result.learned.push_back(learned);
    };
    if (tokenizer_.bos() >= 0) add(tokenizer_.bos(), false);
    for (const text::Message& message : messages) {
      const bool is_answer = message.role == "assistant";
      for (const int32_t token : tokenizer_.encode(message.content)) add(token, is_answer);
      if (is_answer) add(ends_[0], true);
    }
    return result;
  }
  std::string answer_text(const std::vector<int32_t>&, const std::vector<int32_t>& answer) const override { return tokenizer_.decode(answer, continues_); }
  const std::vector<int32_t>& ends() const override { return ends_; }

 private:
  const text::Tokenizer& tokenizer_;
  std::vector<int32_t> ends_;
  bool continues_;
  std::string name_ = "fake";
};

}  // namespace seqmill::test
