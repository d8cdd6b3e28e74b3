#pragma once
// The few special functions that p-values need.

namespace seqmill::metric {

/// Regularised incomplete beta function I_x(a, b), 0 <= x <= 1, a, b > 0. Relative error below 1e-12 for a, b up to 1e6.
double incomplete_beta(double a, double b, double x);

/// P(|Z| > z) for a standard normal Z.
double normal_two_sided(double z);

/// P(|T| > |t|) of Student's t where t = r * sqrt(df / (1 - r^2)): the p-value of a correlation r with df = n - 2.
double correlation_two_sided(double r, double df);

}  // namespace seqmill::metric
