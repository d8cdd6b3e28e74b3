#pragma once
// What seq-eval prints about columns of numbers and labels. `path` may be "-"; the result is the whole output, one JSON object or
// a table. What is undefined is null in JSON and "undefined" in a table, with the reason, and never a number.

#include <cstdint>
#include <string>

#include "metric/score_report.h"

namespace seqmill::metric {

/// Pearson, Spearman, Kendall of two columns; with a third, the mean over its groups.
std::string correlation_report(const std::string& path, bool json);

/// Cohen's kappa of two columns of labels; `weights`: none, linear, quadratic.
std::string kappa_report(const std::string& path, const std::string& weights, bool json);

/// pass@k for each k of a list such as "1,10,100": the mean over the problems, or one line per problem.
std::string pass_report(const std::string& path, const std::string& ks, bool by_problem, bool json);

/// The difference of the means of two columns, baseline and system; without any test asked for, 1000 resamples.
std::string paired_report(const std::string& path, ResampleOptions resample, uint64_t seed, bool json);

}  // namespace seqmill::metric
