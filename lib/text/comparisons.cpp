#include "text/comparisons.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "text/comparison_parser.h"

namespace seqmill::text {
namespace {

// An array may be one line.
constexpr int64_t kMaxArrayBytes = int64_t{1} << 28;

io::LineLimits array_limits() {
  io::LineLimits limits;
  limits.max_bytes = kMaxArrayBytes;
  return limits;
}

// Objects, a line each or all in one array. Which it is, the first line says; it is read once, as standard input cannot be read again.
class ObjectReader {
 public:
  explicit ObjectReader(const std::string& path) : reader_(path, array_limits()) {}

  bool next(Record& record) {
    if (is_array_) return next_item(record);
    std::string line;
    if (!reader_.next(line)) return false;
    if (reader_.line_number() == 1 && starts_with(trim(line), "[")) {
      is_array_ = true;
      read_array(std::move(line));
      return next_item(record);
    }
    const std::string where = fmt::format("{}:{}", reader_.name(), reader_.line_number());
    if (trim(line).empty()) fail("{}: found an empty line, expected a JSON object", where);
    const auto size = static_cast<int64_t>(line.size());
    if (size > record_limits().max_bytes) fail("{}: the line has {} bytes, at most {} are accepted; expected a record a line", where, size, record_limits().max_bytes);
    record = make_record(io::parse_json(line, where), where, reader_.line_number());
    return true;
  }

  /// Records begun; an error about one of these concerns that one alone.
  int64_t number() const { return is_array_ ? static_cast<int64_t>(begun_) : reader_.line_number(); }
  bool would_block() const { return !is_array_ && reader_.would_block(); }
  void wait(int milliseconds) const { reader_.wait(milliseconds); }

 private:
  void read_array(std::string text) {
    for (std::string line; reader_.next(line);) {
      text += '\n';
      text += line;
      if (static_cast<int64_t>(text.size()) > kMaxArrayBytes) fail("{}: the array has more than {} bytes; give its records as JSON lines", reader_.name(), kMaxArrayBytes);
    }
    items_ = std::move(io::parse_json(text, reader_.name()).as_array());
  }

  bool next_item(Record& record) {
    if (begun_ >= items_.size()) return false;
    io::Json item = std::move(items_[begun_++]);
    const auto number = static_cast<int64_t>(begun_);
    if (!item.is_object()) fail("{}: record {}: expected a JSON object, found {}", reader_.name(), number, item.type_name());
    record = make_record(std::move(item), reader_.name(), number);
    return true;
  }

  io::LineReader reader_;
  bool is_array_ = false;
  io::JsonArray items_;
  size_t begun_ = 0;  // of those
};

double count_characters(const std::string& text) {
  return static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

bool similar_lengths(const std::string& a, const std::string& b, double share) {
  const double one = count_characters(a), other = count_characters(b);
  return std::abs(one - other) <= share * std::max(one, other);
}

std::vector<Preference> preferences_of(const Comparison& comparison) {
  std::vector<Preference> preferences;
  const std::vector<double>& merits = comparison.merits;
  for (size_t better = 0; better < merits.size(); ++better) {
    for (size_t worse = 0; worse < merits.size(); ++worse) {
      if (merits[better] <= merits[worse]) continue;
      preferences.push_back({better, worse, comparison.margin.value_or(comparison.is_graded ? merits[better] - merits[worse] : 1)});
    }
  }
  return preferences;
}

void ComparisonOptions::declare(Options& options) {
  options.add("labels", labels, "Labels that say: the first is better, the second is, and (third, optional) neither, as in 0,1,2; without, usual ones: 1, A, A>B..., and no 0")
      .placeholder("LABELS");
  options.add("fields", fields, "Which field of a record is one of ours: prompt=question, chosen=responses.good; 'margin=' says that there is none").placeholder("OURS=THEIRS");
  options.add("skip-bad", skip_bad, "Leave bad records out, and count them, instead of stopping");
}

class ComparisonReader::Impl {
 public:
  Impl(const std::string& path, const ComparisonOptions& options) : parser_(options), skip_bad_(options.skip_bad), reader_(path) {}

  bool next(Comparison& comparison) {
    bool is_wanted = false;
    const auto read = [&] {
      Record record;
      if (!reader_.next(record)) return false;
      bool is_tie = false;
      comparison = parser_.parse(std::move(record), is_tie);
      ++counts_.records;
      counts_.ties += is_tie;
      is_wanted = !is_tie;
      return true;
    };
    const auto leave_out = [&](const Error& error) {
      log::warn("left out: {}", error.what());
      ++counts_.records;
      ++counts_.bad;
    };
    while (!is_wanted) {
      if (!read_or_leave_out(skip_bad_, [&] { return reader_.number(); }, read, leave_out)) return false;
    }
    return true;
  }

  const ComparisonCounts& counts() const { return counts_; }
  bool would_block() const { return reader_.would_block(); }
  void wait(int milliseconds) const { reader_.wait(milliseconds); }

 private:
  ComparisonParser parser_;
  bool skip_bad_;
  ObjectReader reader_;
  ComparisonCounts counts_;
};

ComparisonReader::ComparisonReader(const std::string& path, const ComparisonOptions& options) : impl_(std::make_unique<Impl>(path, options)) {}
ComparisonReader::~ComparisonReader() = default;
bool ComparisonReader::next(Comparison& comparison) { return impl_->next(comparison); }
const ComparisonCounts& ComparisonReader::counts() const { return impl_->counts(); }
bool ComparisonReader::would_block() const { return impl_->would_block(); }
void ComparisonReader::wait(int milliseconds) const { impl_->wait(milliseconds); }

std::vector<Comparison> read_comparisons(const std::vector<std::string>& paths, const ComparisonOptions& options) {
  std::vector<Comparison> comparisons;
  ComparisonCounts all;
  for (const std::string& path : paths) {
    ComparisonReader reader(path, options);
    for (Comparison comparison; reader.next(comparison);) comparisons.push_back(std::move(comparison));
    const ComparisonCounts& counts = reader.counts();
    log::info("{}: {} comparisons", path, counts.records - counts.bad - counts.ties);
    if (counts.ties > 0) log::warn("{}: {} ties were left out", path, counts.ties);
    if (counts.bad > 0) log::warn("{}: {} bad records were left out (--skip-bad)", path, counts.bad);
    all.records += counts.records;
    all.bad += counts.bad;
    all.ties += counts.ties;
  }
  if (comparisons.empty()) fail("{} holds no comparison: of {} records {} are bad and {} are ties", join(paths, ", "), all.records, all.bad, all.ties);
  return comparisons;
}

Comparison read_comparison(Record record, const ComparisonOptions& options, bool& is_tie) { return ComparisonParser(options).parse(std::move(record), is_tie); }

Graded read_graded(Record record) { return ComparisonParser({}).parse_graded(std::move(record)); }

}  // namespace seqmill::text
