#pragma once
// One interface over all corpus metrics. A line (a hypothesis and its references) is turned once into a few numbers that add
// up over lines; a score is a function of the sum. So corpus score, sentence scores, bootstrap and randomisation tests all
// need the text only once.
//
// A new metric is one file: a Metric, a MetricFamily that declares its options, and a registration at the bottom.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/options.h"
#include "base/registry.h"
#include "io/json.h"

namespace seqmill::metric {

/// Turns lines into statistics. Holds scratch memory: one per thread.
class LineCounter {
 public:
  virtual ~LineCounter() = default;
  /// `references` holds at least one line. Writes Metric::width() numbers; all text is valid UTF-8.
  virtual void count(std::string_view hypothesis, const std::vector<std::string_view>& references, double* statistics) = 0;
};

class Metric {
 public:
  virtual ~Metric() = default;
  virtual std::string key() const = 0;   ///< as the user asks for it: "bleu"
  virtual std::string name() const = 0;  ///< as papers write it: "BLEU", "chrF2++"
  /// What makes the score reproducible, in sacreBLEU's notation; "" when nothing is to be said.
  virtual std::string signature(size_t references) const = 0;
  virtual bool higher_is_better() const { return true; }

  virtual size_t width() const = 0;  ///< numbers per line
  virtual std::unique_ptr<LineCounter> counter() const = 0;

  /// Names of what is computed; the last one is the score. Most metrics have only that.
  virtual std::vector<std::string> value_names() const { return {"score"}; }
  /// Writes one number per name from the sum of the statistics of `lines` lines.
  virtual void values(const double* sums, double lines, double* out) const = 0;
  /// values() and what else is worth knowing, as members of a JSON object.
  virtual io::Json report(const double* sums, double lines) const = 0;

  double score(const double* sums, double lines) const;

  /// For people: digits behind the point of the score, and one line of what else matters.
  virtual int decimals() const { return 2; }
  virtual std::string detail(const double* sums, double lines) const = 0;
  /// The words that are compared (chrF: those of its word n-grams), to see what a tokeniser does.
  virtual std::vector<std::string> tokens(std::string_view line) const = 0;
};

/// The statistics of all lines of one system.
struct LineStatistics {
  size_t width = 0;
  std::vector<double> numbers;  ///< [lines, width]

  size_t lines() const { return width == 0 ? 0 : numbers.size() / width; }
  const double* row(size_t line) const { return numbers.data() + line * width; }
  std::vector<double> sum() const;
};

/// One file per reference translation: references[r][line]. All have as many lines as `hypotheses`. Uses base/threads.h.
LineStatistics count_lines(const Metric& metric, const std::vector<std::string>& hypotheses,
                           const std::vector<std::vector<std::string>>& references);

/// The corpus score in one call.
double corpus_score(const Metric& metric, const std::vector<std::string>& hypotheses,
                    const std::vector<std::vector<std::string>>& references);

/// Related metrics that share options.
class MetricFamily {
 public:
  virtual ~MetricFamily() = default;
  virtual void declare(Options& options) = 0;
  virtual std::vector<std::string> metrics() const = 0;
  /// `name` is one of metrics(). `lowercase`: compare lower-cased text.
  virtual std::unique_ptr<Metric> make(const std::string& name, bool lowercase) const = 0;
};

struct MetricFamilyEntry {
  static const char* kind() { return "metric family"; }
  std::function<std::unique_ptr<MetricFamily>()> create;
};

/// Every registered family, with one set of options.
class MetricSet {
 public:
  MetricSet();
  void declare(Options& options);
  std::vector<std::string> metrics() const;
  /// Unknown names and names given twice are usage errors.
  std::vector<std::unique_ptr<Metric>> make(const std::vector<std::string>& names) const;

 private:
  std::vector<std::unique_ptr<MetricFamily>> families_;
  bool lowercase_ = false;
};

/// The version of sacreBLEU whose behaviour and signatures are reproduced.
inline constexpr const char* kSacrebleuVersion = "2.6.0";

}  // namespace seqmill::metric
