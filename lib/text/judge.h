#pragma once
// Questions to a generative judge: which of two answers is better (GRAM, "A Generative Foundation Reward Model for Reward Generalization", ICML 2025). A judge is a
// language model that goes on the question with one of two labels.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace seqmill::text {

struct JudgeOptions {
  std::string preamble = "standard";          ///< what the judge is told first: "standard", "none", "kept", or a file
  std::vector<std::string> labels{"A", "B"};  ///< each must be one token where the answer begins; or both in one, as "A,B"
  std::optional<std::string> preamble_text;   ///< what is kept: what a judge.yaml holds, itself

  void declare(Options& options);  ///< "judge.preamble", "judge.labels"
};

/// A question as tokens.
struct JudgeQuestion {
  std::vector<int32_t> tokens;  ///< up to where the label stands
  bool cut = false;             ///< prompt or answers were too long for the window
};

/// Two answers as what goes on their prompt.
struct PairText {
  ChatTokens text;
  size_t second = 0;  ///< where in it the second answer begins, with what announces it
  bool cut = false;   ///< as of JudgeQuestion
};

class Judge {
 public:
  /// Throws a usage error for labels that are not one token each behind the question, naming how many tokens they are, or that are the same. Template and tokeniser must
  /// outlive it. Thread-safe.
  Judge(const JudgeOptions& options, const ChatTemplate& chat, const Tokenizer& tokenizer, int64_t window);

  /// "Is `first` or `second` the better answer?" What is too long is cut, never the frame: the prompt's text on the left down to a quarter of the
  /// window, then both answers on the right, to the same length. A label still fits in behind it.
  JudgeQuestion question(const std::vector<Message>& messages, const std::string& first, const std::string& second) const;
  const std::array<int32_t, 2>& labels() const { return labels_; }  ///< tokens that say: the first, the second

  /// Stage 1: both answers as what goes on the prompt, to be learned; no preamble and no label. Cut likewise.
  PairText pair_text(const std::vector<Message>& messages, const std::string& first, const std::string& second) const;

  /// What questions are made of, to travel with a model (judge.yaml in its directory): another Judge of it asks the same.
  std::string to_yaml() const;

 private:
  struct Texts {
    std::string prompt, first, second;
  };

  void find_labels();
  std::string asked(const std::string& prompt) const;
  std::string answers_text(const Texts& texts) const;
  std::string question_text(const Texts& texts) const;
  std::vector<int32_t> question_tokens(const Texts& texts) const;
  PairText framed_pair(const Texts& texts) const;
  ChatTokens on_prompt(const std::string& prompt, const std::string& answers) const;
  /// The texts in their frame, cut until that has at most `room` tokens; `frame_size` is that of empty ones.
  template <typename Frame>
  auto fit(const Texts& whole, int64_t frame_size, int64_t room, bool& is_cut, Frame frame) const -> decltype(frame(whole));

  std::string preamble_;
  std::vector<std::string> label_texts_;
  std::array<std::string, 2> names_;    // of the assistants: the labels without space around them
  std::array<int32_t, 2> labels_{};
  std::vector<int32_t> opening_;        // white space that a template or tokeniser puts before a label
  int64_t question_frame_ = 0, pair_frame_ = 0;  // tokens of questions and pairs whose texts are empty
  const ChatTemplate& chat_;
  const Tokenizer& tokenizer_;
  int64_t window_;
};

constexpr const char* kJudgeFile = "judge.yaml";

/// Of a model directory that has a judge.yaml; the standard ones otherwise. Throws Error naming the file.
JudgeOptions load_judge_options(const std::string& directory);

}  // namespace seqmill::text
