#pragma once
// A long text cut into sequences that a model has positions for, such that every token is predicted once.

#include <cstdint>
#include <vector>

namespace seqmill::infer {

/// The sequence of tokens begin .. end - 1 of a text. Of it tokens first_scored .. end - 1 are predicted, each from all before it in the window; begin <
/// first_scored < end. The last token is predicted only, so that a model sees no more than end - begin - 1 tokens.
struct Window {
  int64_t begin = 0, end = 0, first_scored = 0;
};

/// Windows that show a model at most `window` tokens each and begin `stride` tokens apart, 1 <= stride <= window (else a usage error). Their scored tokens
/// are 1 .. tokens - 1, each once and in order; the first token of all has nothing before it and is never scored. With a stride equal to the window, nothing
/// is computed twice and the first tokens of a window have little context; with a smaller one all but those of the first window have at least
/// window - stride + 1 tokens before them. None for fewer than two tokens.
std::vector<Window> plan_windows(int64_t tokens, int64_t window, int64_t stride);

}  // namespace seqmill::infer
