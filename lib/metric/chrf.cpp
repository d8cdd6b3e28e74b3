#include "metric/chrf.h"

#include <algorithm>

#include "metric/ngram.h"
#include "text/unicode.h"

namespace seqmill::metric {
namespace {

constexpr double kEpsilon = 1e-16;

bool is_ascii_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

bool is_one_character(std::string_view word) {
  size_t position = 0;
  text::next_code_point(word, position);
  return position == word.size();
}

// A side of a line as two sequences of symbols.
struct Sequences {
  std::vector<uint32_t> characters, words;
};

class ChrfCounter : public LineCounter {
 public:
  explicit ChrfCounter(const ChrfOptions& options)
      : options_(options),
        characters_(static_cast<int>(options.char_order)),
        words_(static_cast<int>(options.word_order)),
        matches_(options.orders()),
        candidate_(3 * options.orders()) {}

  void count(std::string_view hypothesis, const std::vector<std::string_view>& references, double* out) override {
    texts_.resize(references.size() + 1);
    size_t bytes = 0;
    for (size_t i = 0; i < texts_.size(); ++i) {
      const std::string_view line = i == 0 ? hypothesis : references[i - 1];
      texts_[i] = options_.lowercase ? text::to_lower(line) : std::string(line);
      bytes += texts_[i].size();
    }
    vocabulary_.begin(bytes);
    read(texts_[0], hypothesis_);
    double best = -1;
    for (size_t r = 1; r < texts_.size(); ++r) {
      read(texts_[r], reference_);
      compare();
      const double score = chrf_score(candidate_.data(), options_);
      if (score > best) {
        best = score;
        std::copy(candidate_.begin(), candidate_.end(), out);
      }
    }
  }

 private:
  void read(const std::string& line, Sequences& sequences) {
    sequences.characters.clear();
    sequences.words.clear();
    for (size_t i = 0; i < line.size();) {
      const char32_t c = text::next_code_point(line, i);
      if (options_.whitespace || !text::is_space(c)) sequences.characters.push_back(c);
    }
    if (options_.word_order == 0) return;
    split_chrf_words(line, tokens_);
    vocabulary_.append_ids(tokens_, sequences.words);
  }

  void compare() {
    std::fill(matches_.begin(), matches_.end(), 0);
    match(characters_, hypothesis_.characters, reference_.characters, options_.char_order, 0);
    match(words_, hypothesis_.words, reference_.words, options_.word_order, static_cast<size_t>(options_.char_order));
  }

  void match(NgramMatcher& matcher, const std::vector<uint32_t>& hypothesis, const std::vector<uint32_t>& reference,
             int64_t orders, size_t first) {
    if (orders == 0) return;
    matcher.begin(reference.size());
    matcher.add_reference(reference.data(), reference.size());
    matcher.match(hypothesis.data(), hypothesis.size(), matches_.data() + first);
    for (int n = 1; n <= orders; ++n, ++first) {
      const int64_t reference_total = NgramMatcher::total(reference.size(), n);
      // Hypothesis n-grams do not count when the reference has none of this order.
      const int64_t hypothesis_total = reference_total > 0 ? NgramMatcher::total(hypothesis.size(), n) : 0;
      candidate_[3 * first] = static_cast<double>(hypothesis_total);
      candidate_[3 * first + 1] = static_cast<double>(reference_total);
      candidate_[3 * first + 2] = static_cast<double>(matches_[first]);
    }
  }

  ChrfOptions options_;
  NgramMatcher characters_, words_;
  LineVocabulary vocabulary_;
  std::vector<int64_t> matches_;
  std::vector<double> candidate_;
  std::vector<std::string> texts_;
  std::vector<std::string_view> tokens_;
  Sequences hypothesis_, reference_;
};

class ChrfMetric : public Metric {
 public:
  explicit ChrfMetric(const ChrfOptions& options) : options_(options) {}

  std::string key() const override { return "chrf"; }
  std::string name() const override {
    return fmt::format("chrF{}{}", options_.beta, std::string(static_cast<size_t>(options_.word_order), '+'));
  }
  std::string signature(size_t references) const override {
    return fmt::format("nrefs:{}|case:{}|eff:{}|nc:{}|nw:{}|space:{}|version:{}", references,
                       options_.lowercase ? "lc" : "mixed", options_.eps_smoothing ? "no" : "yes", options_.char_order,
                       options_.word_order, options_.whitespace ? "yes" : "no", kSacrebleuVersion);
  }
  size_t width() const override { return 3 * options_.orders(); }
  std::unique_ptr<LineCounter> counter() const override { return std::make_unique<ChrfCounter>(options_); }
  void values(const double* sums, double, double* out) const override { *out = chrf_score(sums, options_); }

  io::Json report(const double* sums, double) const override {
    io::Json json;
    json.set("score", chrf_score(sums, options_));
    json.set("name", name());
    io::Json statistics = io::Json::array();
    for (size_t i = 0; i < options_.orders(); ++i) {
      io::Json order = io::Json::array();
      for (size_t k = 0; k < 3; ++k) order.push_back(static_cast<int64_t>(sums[3 * i + k]));
      statistics.push_back(std::move(order));
    }
    json.set("statistics", std::move(statistics));
    return json;
  }

  std::string detail(const double* sums, double) const override {
    return fmt::format("{} of {} characters matched", sums[2], sums[0]);
  }

  std::vector<std::string> tokens(std::string_view line) const override {
    const std::string text = options_.lowercase ? text::to_lower(line) : std::string(line);
    std::vector<std::string_view> views;
    split_chrf_words(text, views);
    return {views.begin(), views.end()};
  }

 private:
  ChrfOptions options_;
};

class ChrfFamily : public MetricFamily {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::vector<std::string> metrics() const override { return {"chrf"}; }
  std::unique_ptr<Metric> make(const std::string&, bool lowercase) const override {
    ChrfOptions options = options_;
    options.lowercase = lowercase;
    return make_chrf(options);
  }

 private:
  ChrfOptions options_;
};

const Registration<MetricFamilyEntry> registered{"chrf", {[] { return std::make_unique<ChrfFamily>(); }}};

}  // namespace

void ChrfOptions::declare(Options& options) {
  options.group("chrF");
  options.add("chrf-char-order", char_order, "Longest character n-gram").range(1, 32);
  options.add("chrf-word-order", word_order, "Longest word n-gram; 2 gives chrF++").range(0, 32);
  options.add("chrf-beta", beta, "Weight of recall against precision").range(1, 100);
  options.add("chrf-whitespace", whitespace, "Keep white space in character n-grams");
  options.add("chrf-eps-smoothing", eps_smoothing, "Smooth as chrF++.py does instead of leaving absent orders out");
}

void split_chrf_words(std::string_view line, std::vector<std::string_view>& words) {
  static thread_local std::vector<std::string_view> whole;
  text::split_words(line, whole);
  words.clear();
  for (const std::string_view word : whole) {
    if (is_one_character(word)) {
      words.push_back(word);
    } else if (is_ascii_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (is_ascii_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(word);
    }
  }
}

double chrf_score(const double* statistics, const ChrfOptions& options) {
  const double factor = static_cast<double>(options.beta * options.beta);
  double smoothed = 0, precision_sum = 0, recall_sum = 0;
  int effective = 0;
  for (size_t i = 0; i < options.orders(); ++i) {
    const double hypothesis = statistics[3 * i], reference = statistics[3 * i + 1], matches = statistics[3 * i + 2];
    const double precision = hypothesis > 0 ? matches / hypothesis : kEpsilon;
    const double recall = reference > 0 ? matches / reference : kEpsilon;
    const double denominator = factor * precision + recall;
    smoothed += denominator > 0 ? (1 + factor) * precision * recall / denominator : kEpsilon;
    if (hypothesis > 0 && reference > 0) {
      precision_sum += precision;
      recall_sum += recall;
      ++effective;
    }
  }
  if (options.eps_smoothing) return 100 * smoothed / static_cast<double>(options.orders());
  if (effective == 0 || precision_sum + recall_sum == 0) return 0;
  const double precision = precision_sum / effective, recall = recall_sum / effective;
  return 100 * (1 + factor) * precision * recall / (factor * precision + recall);
}

std::unique_ptr<Metric> make_chrf(const ChrfOptions& options) { return std::make_unique<ChrfMetric>(options); }

}  // namespace seqmill::metric
