#include "metric/ter.h"

#include <algorithm>

#include "metric/ngram.h"
#include "metric/ter_edits.h"
#include "metric/tokenize.h"
#include "text/unicode.h"

namespace seqmill::metric {
namespace {

// Ideographs, radicals, strokes, compatibility and enclosed forms: each a token of its own. The last range ends at U+3F22, as
// the reference's does, where the block of enclosed letters ends at U+32FF. Kana is not split.
bool is_split_by_tercom(char32_t c) {
  constexpr char32_t kRanges[][2] = {{0x2E80, 0x2EFF}, {0x31C0, 0x31EF}, {0x3200, 0x3F22}, {0x3300, 0x33FF},
                                     {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0xFE30, 0xFE4F}};
  for (const auto& range : kRanges) {
    if (c >= range[0] && c <= range[1]) return true;
  }
  return false;
}

bool is_asian_punctuation(char32_t c) {
  switch (c) {
    case 0x3001: case 0x3002: case 0x30FB:
    case 0xFF01: case 0xFF02: case 0xFF08: case 0xFF09: case 0xFF0C: case 0xFF0E: case 0xFF1A: case 0xFF1B: case 0xFF1F:
      return true;
    default:
      return (c >= 0x3008 && c <= 0x3011) || (c >= 0x3014 && c <= 0x301F) || (c >= 0xFF61 && c <= 0xFF65);
  }
}

// Calls `edit(code point, bytes, out)` for each character outside ASCII and copies the rest.
template <typename Edit>
void edit_characters(std::string& text, std::string& scratch, Edit edit) {
  scratch.clear();
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const char32_t c = text::next_code_point(text, i);
    edit(c, std::string_view(text).substr(begin, i - begin), scratch);
  }
  text.swap(scratch);
}

void split_asian(std::string& text, std::string& scratch) {
  edit_characters(text, scratch, [](char32_t c, std::string_view bytes, std::string& out) {
    const bool split = c >= 0x2E80 && (is_split_by_tercom(c) || is_asian_punctuation(c));
    if (split) out.push_back(' ');
    out.append(bytes);
    if (split) out.push_back(' ');
  });
}

void normalize(std::string& text, std::string& scratch) {
  unescape_entities(text);
  text.insert(0, 1, ' ');
  text.push_back(' ');
  pad_western_punctuation(text, scratch);
  replace_all(scratch, "'s ", " 's ");
  text.swap(scratch);
  split_periods_and_dashes(text, scratch);
}

void remove_punctuation(std::string& text, std::string& scratch, bool asian) {
  edit_characters(text, scratch, [asian](char32_t c, std::string_view bytes, std::string& out) {
    const bool western = c < 0x80 && std::string_view(".,?:;!\"()").find(static_cast<char>(c)) != std::string_view::npos;
    if (!western && !(asian && is_asian_punctuation(c))) out.append(bytes);
  });
}

// Statistics of a line: fewest edits over the references, mean reference length.
class TerCounter : public LineCounter {
 public:
  explicit TerCounter(const TerOptions& options) : options_(options) {}

  void count(std::string_view hypothesis, const std::vector<std::string_view>& references, double* out) override {
    texts_.resize(references.size() + 1);
    size_t bytes = 2 * hypothesis.size();  // lower-casing may lengthen
    for (const auto& reference : references) bytes += 2 * reference.size();
    vocabulary_.begin(bytes);
    read(hypothesis, texts_[0], hypothesis_);
    int64_t fewest = -1;
    double length = 0;
    for (size_t r = 0; r < references.size(); ++r) {
      read_reference(references[r], texts_[r + 1]);
      const int64_t edits = translation_edits(hypothesis_, reference_);
      if (fewest < 0 || edits < fewest) fewest = edits;
      length += static_cast<double>(reference_.size());
    }
    out[0] = static_cast<double>(fewest);
    out[1] = length / static_cast<double>(references.size());
  }

 private:
  void read(std::string_view line, std::string& buffer, std::vector<uint32_t>& ids) {
    tokenize_ter(line, options_, buffer, tokens_);
    ids.clear();
    vocabulary_.append_ids(tokens_, ids);
  }

  // sacreBLEU normalises references twice. It shows where the first pass makes new matches for the second: "dog's," becomes
  // "dog's ," and then "dog 's ,", and "&amp;lt;" becomes "<".
  void read_reference(std::string_view line, std::string& buffer) {
    if (options_.normalized) {
      tokenize_ter(line, options_, buffer, tokens_);
      once_.clear();
      for (const auto token : tokens_) once_.append(token).push_back(' ');
      line = once_;
    }
    read(line, buffer, reference_);
  }

  TerOptions options_;
  LineVocabulary vocabulary_;
  std::string once_;
  std::vector<std::string> texts_;
  std::vector<std::string_view> tokens_;
  std::vector<uint32_t> hypothesis_, reference_;
};

class TerMetric : public Metric {
 public:
  explicit TerMetric(const TerOptions& options) : options_(options) {}

  std::string key() const override { return "ter"; }
  std::string name() const override { return "TER"; }
  std::string signature(size_t references) const override {
    return fmt::format("nrefs:{}|case:{}|tok:tercom|norm:{}|punct:{}|asian:{}|version:{}", references,
                       options_.case_sensitive ? "mixed" : "lc", options_.normalized ? "yes" : "no",
                       options_.no_punct ? "no" : "yes", options_.asian ? "yes" : "no", kSacrebleuVersion);
  }
  bool higher_is_better() const override { return false; }
  size_t width() const override { return 2; }
  std::unique_ptr<LineCounter> counter() const override { return std::make_unique<TerCounter>(options_); }

  // Without any reference word, every edit is one too many: 100, or 0 when there is nothing to edit either.
  void values(const double* sums, double, double* out) const override {
    *out = sums[1] > 0 ? 100 * sums[0] / sums[1] : sums[0] > 0 ? 100.0 : 0.0;
  }

  io::Json report(const double* sums, double lines) const override {
    io::Json json;
    json.set("score", score(sums, lines));
    json.set("num_edits", static_cast<int64_t>(sums[0]));
    json.set("ref_length", sums[1]);
    return json;
  }

  std::string detail(const double* sums, double) const override {
    return fmt::format("{} edits, {} reference words", sums[0], sums[1]);
  }

  std::vector<std::string> tokens(std::string_view line) const override {
    std::string buffer;
    std::vector<std::string_view> views;
    tokenize_ter(line, options_, buffer, views);
    return {views.begin(), views.end()};
  }

 private:
  TerOptions options_;
};

class TerFamily : public MetricFamily {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::vector<std::string> metrics() const override { return {"ter"}; }
  std::unique_ptr<Metric> make(const std::string&, bool) const override { return make_ter(options_); }

 private:
  TerOptions options_;
};

const Registration<MetricFamilyEntry> registered{"ter", {[] { return std::make_unique<TerFamily>(); }}};

}  // namespace

void TerOptions::declare(Options& options) {
  options.group("TER");
  options.add("ter-normalized", normalized, "Split punctuation off words");
  options.add("ter-no-punct", no_punct, "Remove punctuation");
  options.add("ter-asian", asian, "With one of the two above: handle Chinese and Japanese characters too");
  options.add("ter-case-sensitive", case_sensitive, "Do not lower-case");
}

void tokenize_ter(std::string_view line, const TerOptions& options, std::string& buffer,
                  std::vector<std::string_view>& tokens) {
  static thread_local std::string scratch;
  line = text::trim_right(line);
  buffer = options.case_sensitive ? std::string(line) : text::to_lower(line);
  if (options.normalized) {
    normalize(buffer, scratch);
    if (options.asian) split_asian(buffer, scratch);
  }
  if (options.no_punct) remove_punctuation(buffer, scratch, options.asian);
  text::split_words(buffer, tokens);
}

std::unique_ptr<Metric> make_ter(const TerOptions& options) { return std::make_unique<TerMetric>(options); }

}  // namespace seqmill::metric
