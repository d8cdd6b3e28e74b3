#include "metric/bleu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "metric/ngram.h"
#include "metric/tokenize.h"
#include "text/unicode.h"

namespace seqmill::metric {
namespace {

io::Json number(double value) {
  return value == std::floor(value) ? io::Json(static_cast<int64_t>(value)) : io::Json(value);
}

io::Json numbers(const std::vector<double>& values) {
  io::Json list = io::Json::array();
  for (const double value : values) list.push_back(number(value));
  return list;
}

// Statistics of a line: hypothesis length, closest reference length, matches per order. Totals follow from the matches' orders
// and the line's length only per line, so they are kept too.
class BleuCounter : public LineCounter {
 public:
  explicit BleuCounter(const BleuOptions& options)
      : order_(static_cast<size_t>(options.max_order)),
        lowercase_(options.lowercase),
        tokenizer_(make_tokenizer(options.tokenizer)),
        matcher_(static_cast<int>(options.max_order)),
        matches_(order_) {}

  void count(std::string_view hypothesis, const std::vector<std::string_view>& references, double* out) override {
    size_t bytes = hypothesis.size();
    for (const auto& reference : references) bytes += reference.size();
    vocabulary_.begin(lowercase_ ? 2 * bytes : bytes);
    texts_.resize(references.size() + 1);
    // The words of all lines live in `texts_`, since the vocabulary refers to them.
    const size_t length = append(hypothesis, 0);
    size_t reference_length = 0;
    size_t symbols = 0;
    size_t closest = std::numeric_limits<size_t>::max();
    lengths_.clear();
    for (size_t r = 0; r < references.size(); ++r) {
      const size_t size = append(references[r], r + 1);
      lengths_.push_back(size);
      symbols += size;
      const size_t difference = size > length ? size - length : length - size;
      if (difference < closest || (difference == closest && size < reference_length)) {
        closest = difference;
        reference_length = size;
      }
    }
    matcher_.begin(symbols);
    const uint32_t* symbol = ids_.data() + length;
    for (const size_t size : lengths_) {
      matcher_.add_reference(symbol, size);
      symbol += size;
    }
    std::fill(matches_.begin(), matches_.end(), 0);
    matcher_.match(ids_.data(), length, matches_.data());
    out[0] = static_cast<double>(length);
    out[1] = static_cast<double>(reference_length);
    for (size_t n = 0; n < order_; ++n) {
      out[2 + n] = static_cast<double>(matches_[n]);
      out[2 + order_ + n] = static_cast<double>(NgramMatcher::total(length, static_cast<int>(n) + 1));
    }
    ids_.clear();
  }

 private:
  size_t append(std::string_view line, size_t slot) {
    const std::string lower = lowercase_ ? text::to_lower(line) : std::string();
    tokenizer_->tokenize(lowercase_ ? lower : line, tokens_);
    std::string& kept = texts_[slot];
    kept.clear();
    for (const auto token : tokens_) kept.append(token);
    size_t position = 0;
    for (const auto token : tokens_) {
      ids_.push_back(vocabulary_.id(std::string_view(kept).substr(position, token.size())));
      position += token.size();
    }
    return tokens_.size();
  }

  size_t order_;
  bool lowercase_;
  std::unique_ptr<Tokenizer> tokenizer_;
  LineVocabulary vocabulary_;
  NgramMatcher matcher_;
  std::vector<int64_t> matches_;
  std::vector<std::string> texts_;
  std::vector<std::string_view> tokens_;
  std::vector<uint32_t> ids_;
  std::vector<size_t> lengths_;
};

class BleuMetric : public Metric {
 public:
  explicit BleuMetric(const BleuOptions& options) : options_(options) { make_tokenizer(options.tokenizer); }

  std::string key() const override { return "bleu"; }
  std::string name() const override { return "BLEU"; }

  std::string signature(size_t references) const override {
    std::string smoothing = options_.smoothing;
    if (smoothing == "floor" || smoothing == "add-k") {
      smoothing += fmt::format("[{:.2f}]", options_.resolved_smooth_value());
    }
    return fmt::format("nrefs:{}|case:{}|eff:{}|tok:{}|smooth:{}|version:{}", references,
                       options_.lowercase ? "lc" : "mixed", options_.effective_order ? "yes" : "no", options_.tokenizer,
                       smoothing, kSacrebleuVersion);
  }

  size_t width() const override { return 2 + 2 * static_cast<size_t>(options_.max_order); }
  std::unique_ptr<LineCounter> counter() const override { return std::make_unique<BleuCounter>(options_); }
  void values(const double* sums, double, double* out) const override { *out = compute(sums).score; }

  io::Json report(const double* sums, double) const override {
    const BleuScore result = compute(sums);
    io::Json json;
    json.set("score", result.score);
    json.set("counts", numbers(result.counts));
    json.set("totals", numbers(result.totals));
    json.set("precisions", io::Json::list(result.precisions));
    json.set("bp", result.brevity_penalty);
    json.set("sys_len", number(result.hypothesis_length));
    json.set("ref_len", number(result.reference_length));
    return json;
  }

  std::string detail(const double* sums, double) const override {
    const BleuScore result = compute(sums);
    std::string precisions;
    for (const double p : result.precisions) precisions += fmt::format("{}{:.1f}", precisions.empty() ? "" : "/", p);
    const double ratio = result.reference_length > 0 ? result.hypothesis_length / result.reference_length : 0;
    return fmt::format("{} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})", precisions, result.brevity_penalty, ratio,
                       result.hypothesis_length, result.reference_length);
  }

  std::vector<std::string> tokens(std::string_view line) const override {
    const std::string text = options_.lowercase ? text::to_lower(line) : std::string(line);
    std::vector<std::string_view> views;
    const auto tokenizer = make_tokenizer(options_.tokenizer);
    tokenizer->tokenize(text, views);
    return {views.begin(), views.end()};
  }

 private:
  BleuScore compute(const double* sums) const {
    const auto order = options_.max_order;
    return bleu_score({sums + 2, sums + 2 + order}, {sums + 2 + order, sums + 2 + 2 * order}, sums[0], sums[1], options_);
  }

  BleuOptions options_;
};

class BleuFamily : public MetricFamily {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::vector<std::string> metrics() const override { return {"bleu"}; }
  std::unique_ptr<Metric> make(const std::string&, bool lowercase) const override {
    BleuOptions options = options_;
    options.lowercase = lowercase;
    return make_bleu(options);
  }

 private:
  BleuOptions options_;
};

const Registration<MetricFamilyEntry> registered{"bleu", {[] { return std::make_unique<BleuFamily>(); }}};

}  // namespace

void BleuOptions::declare(Options& options) {
  options.group("BLEU");
  options.add("tokenize", tokenizer, "Tokeniser of BLEU").one_of(tokenizer_names());
  options.add("smooth", smoothing, "What replaces a precision of zero").one_of({"exp", "floor", "add-k", "none"});
  options.add("smooth-value", smooth_value, "For floor and add-k; negative: the method's own, 0.1 and 1");
  options.add("effective-order", effective_order, "Leave out orders without any n-gram (for sentence scores)");
  options.add("max-ngram-order", max_order, "Longest n-gram").range(1, 32);
}

double BleuOptions::resolved_smooth_value() const {
  if (smooth_value >= 0) return smooth_value;
  return smoothing == "floor" ? 0.1 : smoothing == "add-k" ? 1.0 : 0.0;
}

BleuScore bleu_score(std::vector<double> counts, std::vector<double> totals, double hypothesis_length,
                     double reference_length, const BleuOptions& options) {
  BleuScore result;
  const size_t orders = counts.size();
  result.counts = std::move(counts);
  result.totals = std::move(totals);
  result.precisions.assign(orders, 0.0);
  result.hypothesis_length = hypothesis_length;
  result.reference_length = reference_length;
  if (hypothesis_length < reference_length) {
    result.brevity_penalty = hypothesis_length > 0 ? std::exp(1 - reference_length / hypothesis_length) : 0.0;
  }
  if (std::all_of(result.counts.begin(), result.counts.end(), [](double c) { return c == 0; })) return result;

  const double value = options.resolved_smooth_value();
  size_t effective = orders;
  double halving = 1;  // exp: the k-th zero precision becomes 1 / (2^k total)
  for (size_t n = 0; n < orders; ++n) {
    double& count = result.counts[n];
    double& total = result.totals[n];
    if (options.smoothing == "add-k" && n > 0) {
      count += value;
      total += value;
    }
    if (total == 0) break;
    if (options.effective_order) effective = n + 1;
    if (count > 0) {
      result.precisions[n] = 100 * count / total;
    } else if (options.smoothing == "exp") {
      halving *= 2;
      result.precisions[n] = 100 / (halving * total);
    } else if (options.smoothing == "floor") {
      result.precisions[n] = 100 * value / total;
    }
  }
  double log_sum = 0;
  for (size_t n = 0; n < effective; ++n) log_sum += std::log(result.precisions[n]);  // log 0 = -inf, and exp of that is 0
  result.score = result.brevity_penalty * std::exp(log_sum / static_cast<double>(effective));
  return result;
}

std::unique_ptr<Metric> make_bleu(const BleuOptions& options) { return std::make_unique<BleuMetric>(options); }

}  // namespace seqmill::metric
