#pragma once
// Resampling of lines: confidence intervals and tests whether two systems differ.
//   paired bootstrap: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation"
//   paired approximate randomisation: Riezler & Maxwell (2005), "On Some Pitfalls in Automatic Evaluation and Significance
//   Testing for MT"
// Resample i draws from its own random stream (seed, i): the result depends neither on threads nor on what else is computed,
// and all systems and metrics see the same lines.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "metric/metric.h"

namespace seqmill::metric {

/// What is resampled: per-line statistics, and the values that a sum over lines gives.
struct Sample {
  const LineStatistics* statistics;
  size_t values = 1;  ///< numbers that `evaluate` writes; the last is the score
  std::function<void(const double* sums, double lines, double* out)> evaluate;
};

Sample sample_of(const Metric& metric, const LineStatistics& statistics);
/// The mean of one number per line; `column` has width 1.
Sample mean_of(const LineStatistics& column);

/// Of one value over all resamples.
struct Bootstrap {
  double mean = 0;
  double half_width = 0;         ///< half the distance between the entries samples/40 from either end of the sorted values
  double low = 0, median = 0, high = 0;  ///< percentiles 2.5, 50 and 97.5
};

/// One entry per value. `samples` > 0 resamples of all lines, drawn with replacement.
std::vector<Bootstrap> bootstrap(const Sample& sample, int64_t samples, uint64_t seed);

struct PairedBootstrap {
  Bootstrap baseline, system;
  Bootstrap delta;          ///< system - baseline, line by line the same resamples
  /// (1 + resamples whose |delta_i| exceeds the mean |delta_i| by more than |delta|) / (1 + samples); 1 when delta is 0.
  double p_value = 1;
  double better_fraction = 0;  ///< of the resamples in which the system is strictly better
};

PairedBootstrap paired_bootstrap(const Sample& baseline, const Sample& system, bool higher_is_better, int64_t samples,
                                 uint64_t seed);

/// Two-sided p: (1 + trials whose |difference| is at least the observed one) / (1 + trials). In a trial, each line's two
/// outputs change sides with probability 1/2. The conservative "at least" makes equal systems give 1.
double paired_randomisation(const Sample& baseline, const Sample& system, int64_t trials, uint64_t seed);

/// The q-th quantile of sorted numbers, interpolated between neighbours.
double quantile(const std::vector<double>& sorted, double q);

}  // namespace seqmill::metric
