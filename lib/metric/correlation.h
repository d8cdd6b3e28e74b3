#pragma once
// Correlation of two columns of numbers, with two-sided p-values, and the mean over groups of lines.

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace seqmill::metric {

/// No value: the coefficient is undefined (a constant column, fewer than two observations).
struct Correlation {
  std::optional<double> value;
  std::optional<double> p_value;  ///< absent where no distribution gives one
};

struct Interval {
  double low, high;
};

/// Pearson's r; p from Student's t with n-2 degrees of freedom (exact under normality; 1 for n = 2).
Correlation pearson(const std::vector<double>& x, const std::vector<double>& y);

/// Pearson's r of the ranks, ties sharing their mean rank; p from the same t approximation, absent for n = 2.
Correlation spearman(const std::vector<double>& x, const std::vector<double>& y);

/// Kendall's tau-b (Kendall, 1945). p is exact when nothing is tied and n <= 33, or at most one pair is discordant or at most
/// one concordant; otherwise from the normal approximation with the variance corrected for ties. O(n log n).
Correlation kendall_tau_b(const std::vector<double>& x, const std::vector<double>& y);

/// Fisher's interval of Pearson's r: tanh(atanh r -+ z / sqrt(n - 3)) at 95 %; absent for n <= 3.
std::optional<Interval> fisher_interval(double r, size_t n);

/// All three of one group of lines.
struct CorrelationSet {
  Correlation pearson, spearman, kendall;
  std::optional<Interval> pearson_interval;
  size_t n = 0;
  std::string undefined_reason;  ///< "" when defined
};

CorrelationSet correlate(const std::vector<double>& x, const std::vector<double>& y);

/// The mean of the coefficients over the groups for which they are defined; no p-values. `undefined` counts the others.
struct GroupedCorrelation {
  CorrelationSet mean;  ///< n: lines of all groups
  size_t groups = 0, undefined = 0;
};

GroupedCorrelation correlate_groups(const std::vector<double>& x, const std::vector<double>& y,
                                    const std::vector<std::string>& groups);

}  // namespace seqmill::metric
