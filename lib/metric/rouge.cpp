#include "metric/rouge.h"

#include <algorithm>
#include <unordered_map>

#include "metric/lcs.h"
#include "metric/ngram.h"
#include "metric/porter.h"
#include "text/unicode.h"

namespace seqmill::metric {
namespace {

using Words = std::vector<uint32_t>;

struct Prf {
  double precision = 0, recall = 0, f = 0;
};

Prf from_hits(double hits, double hypothesis, double reference) {
  Prf result;
  if (hypothesis > 0) result.precision = hits / hypothesis;
  if (reference > 0) result.recall = hits / reference;
  const double sum = result.precision + result.recall;
  if (sum > 0) result.f = 2 * result.precision * result.recall / sum;
  return result;
}

// Words of the line and, for ROUGE-Lsum, of its sentences one after the other.
struct Document {
  std::vector<Words> sentences;
  size_t words() const {
    size_t count = 0;
    for (const Words& sentence : sentences) count += sentence.size();
    return count;
  }
};

class RougeCounter : public LineCounter {
 public:
  RougeCounter(const RougeOptions& options, bool by_sentence) : options_(options), by_sentence_(by_sentence) {}

  void count(std::string_view hypothesis, const std::vector<std::string_view>& references, double* out) override {
    const Document candidate = read(hypothesis);
    Prf best;
    for (size_t r = 0; r < references.size(); ++r) {
      const Prf result = compare(candidate, read(references[r]));
      if (r == 0 || result.f > best.f) best = result;
    }
    out[0] = best.precision;
    out[1] = best.recall;
    out[2] = best.f;
  }

 protected:
  virtual Prf compare(const Document& hypothesis, const Document& reference) = 0;

 private:
  Document read(std::string_view line) {
    Document document;
    const std::string_view separator = options_.sentence_separator;
    document.sentences.emplace_back();
    while (true) {
      const size_t end = separator.empty() ? std::string_view::npos : line.find(separator);
      tokenize_rouge(line.substr(0, end), false, tokens_);
      for (const std::string& token : tokens_) document.sentences.back().push_back(number(token));
      if (end == std::string_view::npos) return document;
      if (by_sentence_) document.sentences.emplace_back();
      line.remove_prefix(end + separator.size());
    }
  }

  // Words are numbered once for a whole run, and words of one stem share a number: each form is stemmed once.
  uint32_t number(const std::string& token) {
    const auto found = numbers_.find(token);
    if (found != numbers_.end()) return found->second;
    const bool stemmed = options_.stem && token.size() > 3;
    const auto fresh = static_cast<uint32_t>(stems_.size());
    const uint32_t id = stems_.emplace(stemmed ? porter_stem(token) : token, fresh).first->second;
    numbers_.emplace(token, id);
    return id;
  }

  RougeOptions options_;
  bool by_sentence_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, uint32_t> numbers_, stems_;
};

class RougeNCounter : public RougeCounter {
 public:
  RougeNCounter(const RougeOptions& options, int order)
      : RougeCounter(options, false), order_(order), matcher_(order), matches_(static_cast<size_t>(order)) {}

 protected:
  Prf compare(const Document& hypothesis, const Document& reference) override {
    const Words& candidate = hypothesis.sentences[0];
    const Words& target = reference.sentences[0];
    matcher_.begin(target.size());
    matcher_.add_reference(target.data(), target.size());
    std::fill(matches_.begin(), matches_.end(), 0);
    matcher_.match(candidate.data(), candidate.size(), matches_.data());
    return from_hits(static_cast<double>(matches_.back()),
                     static_cast<double>(NgramMatcher::total(candidate.size(), order_)),
                     static_cast<double>(NgramMatcher::total(target.size(), order_)));
  }

 private:
  int order_;
  NgramMatcher matcher_;
  std::vector<int64_t> matches_;
};

Prf compare_lines(const Document& hypothesis, const Document& reference) {
  const Words& candidate = hypothesis.sentences[0];
  const Words& target = reference.sentences[0];
  return from_hits(static_cast<double>(lcs_length(target, candidate)), static_cast<double>(candidate.size()),
                   static_cast<double>(target.size()));
}

class RougeLCounter : public RougeCounter {
 public:
  explicit RougeLCounter(const RougeOptions& options) : RougeCounter(options, false) {}

 protected:
  Prf compare(const Document& hypothesis, const Document& reference) override { return compare_lines(hypothesis, reference); }
};

class RougeLsumCounter : public RougeCounter {
 public:
  explicit RougeLsumCounter(const RougeOptions& options) : RougeCounter(options, true) {}

 protected:
  // A reference word is hit when the longest common subsequence with any hypothesis sentence holds it; a hit uses up one
  // occurrence of the word on both sides. Between single sentences that is ROUGE-L.
  Prf compare(const Document& hypothesis, const Document& reference) override {
    if (hypothesis.sentences.size() == 1 && reference.sentences.size() == 1) return compare_lines(hypothesis, reference);
    std::unordered_map<uint32_t, int> in_hypothesis, in_reference;
    for (const Words& sentence : hypothesis.sentences) for (const uint32_t word : sentence) ++in_hypothesis[word];
    for (const Words& sentence : reference.sentences) for (const uint32_t word : sentence) ++in_reference[word];
    double hits = 0;
    for (const Words& target : reference.sentences) {
      std::vector<bool> marks(target.size());
      for (const Words& candidate : hypothesis.sentences) mark_lcs(target, candidate, marks);
      for (size_t i = 0; i < target.size(); ++i) {
        if (!marks[i] || in_hypothesis[target[i]] == 0 || in_reference[target[i]] == 0) continue;
        --in_hypothesis[target[i]];
        --in_reference[target[i]];
        ++hits;
      }
    }
    return from_hits(hits, static_cast<double>(hypothesis.words()), static_cast<double>(reference.words()));
  }
};

// Statistics of a line: precision, recall, F; the corpus value is their mean.
class RougeMetric : public Metric {
 public:
  RougeMetric(std::string type, const RougeOptions& options) : type_(std::move(type)), options_(options) {}

  std::string key() const override { return type_; }
  std::string name() const override { return "ROUGE-" + type_.substr(5); }
  std::string signature(size_t references) const override {
    return fmt::format("nrefs:{}|stem:{}|refs:best-f", references, options_.stem ? "porter" : "no");
  }
  size_t width() const override { return 3; }
  std::vector<std::string> value_names() const override { return {"precision", "recall", "f"}; }

  std::unique_ptr<LineCounter> counter() const override {
    if (type_ == "rougeL") return std::make_unique<RougeLCounter>(options_);
    if (type_ == "rougeLsum") return std::make_unique<RougeLsumCounter>(options_);
    return std::make_unique<RougeNCounter>(options_, type_.back() - '0');
  }
  void values(const double* sums, double lines, double* out) const override {
    for (int k = 0; k < 3; ++k) out[k] = lines > 0 ? sums[k] / lines : 0.0;
  }
  io::Json report(const double* sums, double lines) const override {
    double out[3];
    values(sums, lines, out);
    io::Json json;
    for (size_t k = 0; k < 3; ++k) json.set(value_names()[k], out[k]);
    return json;
  }

  int decimals() const override { return 4; }
  std::string detail(const double* sums, double lines) const override {
    double out[3];
    values(sums, lines, out);
    return fmt::format("precision {:.4f} recall {:.4f}", out[0], out[1]);
  }

  std::vector<std::string> tokens(std::string_view line) const override {
    std::vector<std::string> tokens;
    tokenize_rouge(line, options_.stem, tokens);
    return tokens;
  }

 private:
  std::string type_;
  RougeOptions options_;
};

class RougeFamily : public MetricFamily {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::vector<std::string> metrics() const override {
    std::vector<std::string> names;
    for (int n = 1; n <= 9; ++n) names.push_back("rouge" + std::to_string(n));
    names.insert(names.end(), {"rougeL", "rougeLsum"});
    return names;
  }
  std::unique_ptr<Metric> make(const std::string& name, bool) const override { return make_rouge(name, options_); }

 private:
  RougeOptions options_;
};

const Registration<MetricFamilyEntry> registered{"rouge", {[] { return std::make_unique<RougeFamily>(); }}};

}  // namespace

void RougeOptions::declare(Options& options) {
  options.group("ROUGE");
  options.add("stem", stem, "Compare Porter stems");
  options.add("sentence-separator", sentence_separator, "Text that ends a sentence within a line (rougeLsum)");
}

void tokenize_rouge(std::string_view text, bool stem, std::vector<std::string>& tokens) {
  tokens.clear();
  const std::string lower = text::to_lower(text);
  const auto keeps = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  for (size_t i = 0; i < lower.size();) {
    size_t end = i;
    while (end < lower.size() && keeps(lower[end])) ++end;
    if (end > i) {
      tokens.push_back(lower.substr(i, end - i));
      if (stem && tokens.back().size() > 3) tokens.back() = porter_stem(tokens.back());
    }
    i = std::max(end, i + 1);
  }
}

std::unique_ptr<Metric> make_rouge(const std::string& type, const RougeOptions& options) {
  return std::make_unique<RougeMetric>(type, options);
}

}  // namespace seqmill::metric
