#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/split_pattern.h"

#include <pcre2.h>

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::text {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
// Steps of one match. Honest patterns go back over a run of white space at most a few times; a hostile one is stopped within milliseconds.
constexpr uint32_t kMatchSteps = 200'000;
constexpr uint32_t kMatchStepsPerByte = 16;
constexpr size_t kFirstStackBytes = 32 << 10, kMaxStackBytes = 1 << 20;

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

template <typename T>
T* allocated(T* pointer) {
  if (!pointer) throw std::bad_alloc();
  return pointer;
}

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freed<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>>;

size_t next_character(std::string_view text, size_t position) {
  do ++position;
  while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

}  // namespace

struct SplitPattern::Scratch::State {
  MatchContext context{allocated(pcre2_match_context_create(nullptr))};
  MatchData data{allocated(pcre2_match_data_create(1, nullptr))};
  JitStack stack{pcre2_jit_stack_create(kFirstStackBytes, kMaxStackBytes, nullptr)};  // null where there is no compiler for the machine

  State() {
    if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

SplitPattern::Scratch::Scratch() : state_(std::make_unique<State>()) {}
SplitPattern::Scratch::~Scratch() = default;

struct SplitPattern::State {
  Code code;
  std::string where;

  // The next match from `from` on, as begin and end; false when there is none.
  bool match(std::string_view text, size_t from, Scratch::State& scratch, size_t& begin, size_t& end) const {
    // Callers checked the encoding once; to have it checked by every match would make the whole quadratic.
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int found = pcre2_match(code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch.data.get(), scratch.context.get());
    }
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_DEPTHLIMIT || found == PCRE2_ERROR_HEAPLIMIT) {
      fail("{}: the pattern takes too many steps on \"{}\"", where, excerpt(std::string(text.substr(from, 200)), 60));
    }
    if (found < 0) fail("{}: the pattern failed on a text: {}", where, message_of(found));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.data.get());
    begin = ends[0], end = ends[1];
    if (begin < from || end < begin) fail("{}: the pattern matches backwards", where);
    return true;
  }
};

SplitPattern::SplitPattern(const std::string& pattern, bool literal, std::string where) : state_(std::make_unique<State>()) {
  state_->where = std::move(where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const CompileContext context(allocated(pcre2_compile_context_create(nullptr)));
  pcre2_set_max_pattern_length(context.get(), kMaxPatternBytes);
  const uint32_t options = literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  state_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, context.get()));
  if (!state_->code) fail("{}: no regular expression at byte {}: {}", state_->where, offset + 1, message_of(error));
  pcre2_jit_compile(state_->code.get(), PCRE2_JIT_COMPLETE);  // where it fails, matching is interpreted
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

void SplitPattern::split(std::string_view text, Scratch& scratch, std::vector<std::string_view>& parts) const {
  const uint64_t steps = kMatchSteps + kMatchStepsPerByte * static_cast<uint64_t>(text.size());
  pcre2_set_match_limit(scratch.state_->context.get(), static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  size_t done = 0, begin = 0, end = 0;
  for (size_t from = 0; from < text.size() && state_->match(text, from, *scratch.state_, begin, end);) {
    if (begin == end) {  // matches nothing: what stands here belongs to the gap
      if (begin == text.size()) break;
      from = next_character(text, begin);
      continue;
    }
    if (begin > done) parts.push_back(text.substr(done, begin - done));
    parts.push_back(text.substr(begin, end - begin));
    done = from = end;
  }
  if (done < text.size()) parts.push_back(text.substr(done));
}

}  // namespace seqmill::text
