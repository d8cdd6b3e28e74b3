#include "text/parallel_reader.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::text {
namespace {

// The beginning of a line, for messages.
constexpr size_t kShown = 60;  // bytes of a line in a message

[[noreturn]] void fail_misaligned(const io::LineReader& ended, int64_t lines, const io::LineReader& longer,
                                  const std::string& line) {
  fail(
      "{} ends after line {}, {} goes on: '{}'; expected equally many lines, line by line translations of each "
      "other",
      ended.name(), lines, longer.name(), excerpt(line, kShown));
}

}  // namespace

struct ParallelReader::State {
  io::LineReader source;
  std::optional<io::LineReader> target;
  std::string line;

  State(const std::string& source_path, const std::string& target_path, io::LineLimits limits)
      : source(source_path, limits) {
    if (source_path == "-" && target_path == "-") fail("source and target cannot both be standard input");
    if (!target_path.empty()) target.emplace(target_path, limits);
  }

  bool next_pair(std::string& source_line, std::string& target_line) {
    const int64_t lines = source.line_number();
    const bool has_source = source.next(source_line);
    const bool has_target = target->next(target_line);
    if (has_source && !has_target) fail_misaligned(*target, lines, source, source_line);
    if (!has_source && has_target) fail_misaligned(source, lines, *target, target_line);
    return has_source;
  }

  bool next_fields(std::string& source_field, std::string& target_field) {
    if (!source.next(line)) return false;
    const auto tabs = std::count(line.begin(), line.end(), '\t');
    if (tabs != 1) {
      fail("{}:{}: found {} field{}, expected 2: source, TAB, target", source.name(), source.line_number(),
           tabs + 1, tabs == 0 ? "" : "s");
    }
    const size_t tab = line.find('\t');
    source_field.assign(line, 0, tab);
    target_field.assign(line, tab + 1);
    return true;
  }
};

ParallelReader::ParallelReader(const std::string& source, const std::string& target, io::LineLimits limits)
    : state_(std::make_unique<State>(source, target, limits)) {}
ParallelReader::~ParallelReader() = default;

bool ParallelReader::next(std::string& source, std::string& target) {
  return state_->target ? state_->next_pair(source, target) : state_->next_fields(source, target);
}

int64_t ParallelReader::line_number() const { return state_->source.line_number(); }

}  // namespace seqmill::text
