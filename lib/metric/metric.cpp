#include "metric/metric.h"

#include <algorithm>

#include "base/strings.h"
#include "base/threads.h"

namespace seqmill::metric {

double Metric::score(const double* sums, double lines) const {
  std::vector<double> out(value_names().size());
  values(sums, lines, out.data());
  return out.back();
}

std::vector<double> LineStatistics::sum() const {
  std::vector<double> sums(width);
  for (size_t i = 0; i < numbers.size(); ++i) sums[i % width] += numbers[i];
  return sums;
}

LineStatistics count_lines(const Metric& metric, const std::vector<std::string>& hypotheses,
                           const std::vector<std::vector<std::string>>& references) {
  if (references.empty()) fail("{} needs at least one reference", metric.name());
  for (const auto& reference : references) {
    if (reference.size() != hypotheses.size()) {
      fail("{} lines of hypotheses but {} of references", hypotheses.size(), reference.size());
    }
  }
  LineStatistics statistics;
  statistics.width = metric.width();
  statistics.numbers.resize(hypotheses.size() * statistics.width);
  constexpr int64_t kGrain = 64;
  parallel_for(static_cast<int64_t>(hypotheses.size()), kGrain, [&](int64_t begin, int64_t end) {
    const auto counter = metric.counter();
    std::vector<std::string_view> lines(references.size());
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      for (size_t r = 0; r < references.size(); ++r) lines[r] = references[r][i];
      counter->count(hypotheses[i], lines, statistics.numbers.data() + i * statistics.width);
    }
  });
  return statistics;
}

double corpus_score(const Metric& metric, const std::vector<std::string>& hypotheses,
                    const std::vector<std::vector<std::string>>& references) {
  const LineStatistics statistics = count_lines(metric, hypotheses, references);
  return metric.score(statistics.sum().data(), static_cast<double>(statistics.lines()));
}

MetricSet::MetricSet() {
  auto& registry = Registry<MetricFamilyEntry>::instance();
  for (const std::string& name : registry.names()) families_.push_back(registry.get(name).create());
}

void MetricSet::declare(Options& options) {
  options.group("Text");
  options.add("lowercase", lowercase_, "Lower-case hypotheses and references for BLEU and chrF (TER and ROUGE always do)");
  for (const auto& family : families_) family->declare(options);
}

std::vector<std::string> MetricSet::metrics() const {
  std::vector<std::string> all;
  for (const auto& family : families_) {
    const auto names = family->metrics();
    all.insert(all.end(), names.begin(), names.end());
  }
  return all;
}

std::vector<std::unique_ptr<Metric>> MetricSet::make(const std::vector<std::string>& names) const {
  std::vector<std::unique_ptr<Metric>> made;
  for (const std::string& name : names) {
    for (const auto& other : made) {
      if (other->key() == name) fail_usage("metric '{}' is asked for twice", name);
    }
    const size_t before = made.size();
    for (const auto& family : families_) {
      const auto known = family->metrics();
      if (std::find(known.begin(), known.end(), name) != known.end()) made.push_back(family->make(name, lowercase_));
    }
    if (made.size() == before) {
      const std::string guess = nearest(name, metrics());
      fail_usage("unknown metric '{}'{}; known: {}", name, guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess),
                 join(metrics(), ", "));
    }
  }
  return made;
}

}  // namespace seqmill::metric
