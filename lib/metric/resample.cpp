#include "metric/resample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"
#include "base/threads.h"

namespace seqmill::metric {
namespace {

double score(const Sample& sample, const double* sums, double lines) {
  std::vector<double> out(sample.values);
  sample.evaluate(sums, lines, out.data());
  return out.back();
}

void draw_lines(uint64_t seed, int64_t resample, std::vector<size_t>& lines) {
  Rng rng(seed, "bootstrap", static_cast<uint64_t>(resample));
  for (size_t& line : lines) line = rng.below(lines.size());
}

void add_rows(const LineStatistics& statistics, const std::vector<size_t>& lines, std::vector<double>& sums) {
  std::fill(sums.begin(), sums.end(), 0.0);
  for (const size_t line : lines) {
    const double* row = statistics.row(line);
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += row[k];
  }
}

// [samples, values] of one system.
std::vector<double> resampled_values(const Sample& sample, int64_t samples, uint64_t seed) {
  const LineStatistics& statistics = *sample.statistics;
  if (statistics.lines() == 0) fail("nothing to resample: no lines");
  std::vector<double> all(static_cast<size_t>(samples) * sample.values);
  parallel_for(samples, 16, [&](int64_t begin, int64_t end) {
    std::vector<size_t> lines(statistics.lines());
    std::vector<double> sums(statistics.width);
    for (int64_t i = begin; i < end; ++i) {
      draw_lines(seed, i, lines);
      add_rows(statistics, lines, sums);
      sample.evaluate(sums.data(), static_cast<double>(lines.size()), all.data() + static_cast<size_t>(i) * sample.values);
    }
  });
  return all;
}

std::vector<double> column(const std::vector<double>& all, size_t width, size_t index) {
  std::vector<double> values;
  for (size_t i = index; i < all.size(); i += width) values.push_back(all[i]);
  return values;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Bootstrap summarise(std::vector<double> values) {
  Bootstrap result;
  result.mean = mean(values);
  std::sort(values.begin(), values.end());
  const size_t cut = values.size() / 40;
  result.half_width = 0.5 * (values[values.size() - 1 - cut] - values[cut]);
  result.low = quantile(values, 0.025);
  result.median = quantile(values, 0.5);
  result.high = quantile(values, 0.975);
  return result;
}

void require_pair(const Sample& baseline, const Sample& system) {
  if (baseline.statistics->lines() != system.statistics->lines()) {
    fail("systems of {} and {} lines cannot be paired", baseline.statistics->lines(), system.statistics->lines());
  }
}

double observed_delta(const Sample& baseline, const Sample& system) {
  const auto lines = static_cast<double>(baseline.statistics->lines());
  return score(system, system.statistics->sum().data(), lines) - score(baseline, baseline.statistics->sum().data(), lines);
}

}  // namespace

Sample sample_of(const Metric& metric, const LineStatistics& statistics) {
  return {&statistics, metric.value_names().size(),
          [&metric](const double* sums, double lines, double* out) { metric.values(sums, lines, out); }};
}

Sample mean_of(const LineStatistics& column) {
  return {&column, 1, [](const double* sums, double lines, double* out) { *out = sums[0] / lines; }};
}

std::vector<Bootstrap> bootstrap(const Sample& sample, int64_t samples, uint64_t seed) {
  const std::vector<double> all = resampled_values(sample, samples, seed);
  std::vector<Bootstrap> results;
  for (size_t k = 0; k < sample.values; ++k) results.push_back(summarise(column(all, sample.values, k)));
  return results;
}

PairedBootstrap paired_bootstrap(const Sample& baseline, const Sample& system, bool higher_is_better, int64_t samples,
                                 uint64_t seed) {
  require_pair(baseline, system);
  const auto scores = [&](const Sample& sample) {
    return column(resampled_values(sample, samples, seed), sample.values, sample.values - 1);
  };
  const std::vector<double> of_baseline = scores(baseline), of_system = scores(system);
  std::vector<double> deltas(of_system.size()), sizes(of_system.size());
  double better = 0;
  for (size_t i = 0; i < deltas.size(); ++i) {
    deltas[i] = of_system[i] - of_baseline[i];
    sizes[i] = std::fabs(deltas[i]);
    better += higher_is_better ? deltas[i] > 0 : deltas[i] < 0;
  }
  PairedBootstrap result{summarise(of_baseline), summarise(of_system), summarise(deltas), 1.0, 0.0};
  const auto count = static_cast<double>(samples);
  result.better_fraction = better / count;
  const double delta = std::fabs(observed_delta(baseline, system)), centre = mean(sizes);
  if (delta == 0) return result;
  const auto extreme = std::count_if(sizes.begin(), sizes.end(), [&](double s) { return s - centre > delta; });
  result.p_value = (static_cast<double>(extreme) + 1) / (count + 1);
  return result;
}

double paired_randomisation(const Sample& baseline, const Sample& system, int64_t trials, uint64_t seed) {
  require_pair(baseline, system);
  const LineStatistics& a = *baseline.statistics;
  const LineStatistics& b = *system.statistics;
  const auto lines = static_cast<double>(a.lines());
  const double observed = std::fabs(observed_delta(baseline, system));
  // Sums that are equal on paper may differ in the last bits when they were added in another order.
  const double threshold = observed - 1e-9 * (1 + observed);
  std::vector<char> extreme(static_cast<size_t>(trials));
  parallel_for(trials, 16, [&](int64_t begin, int64_t end) {
    std::vector<double> left(a.width), right(a.width);
    for (int64_t trial = begin; trial < end; ++trial) {
      Rng rng(seed, "randomise", static_cast<uint64_t>(trial));
      std::fill(left.begin(), left.end(), 0.0);
      std::fill(right.begin(), right.end(), 0.0);
      uint64_t bits = 0;
      for (size_t line = 0; line < a.lines(); ++line) {
        bits = line % 64 == 0 ? rng.next() : bits >> 1;
        const bool swap = (bits & 1) != 0;
        const double* to_left = swap ? b.row(line) : a.row(line);
        const double* to_right = swap ? a.row(line) : b.row(line);
        for (size_t k = 0; k < left.size(); ++k) {
          left[k] += to_left[k];
          right[k] += to_right[k];
        }
      }
      const double difference = score(baseline, left.data(), lines) - score(baseline, right.data(), lines);
      extreme[static_cast<size_t>(trial)] = std::fabs(difference) >= threshold;
    }
  });
  const auto count = std::count(extreme.begin(), extreme.end(), 1);
  return (static_cast<double>(count) + 1) / (static_cast<double>(trials) + 1);
}

double quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace seqmill::metric
