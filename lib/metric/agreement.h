#pragma once
// Agreement of two raters (Cohen's kappa) and the chance that one of k samples is right (pass@k).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace seqmill::metric {

struct Kappa {
  std::optional<double> value;     ///< absent when the raters agree by chance alone: both use one and the same label
  double observed_agreement = 0;   ///< share of equal labels
  size_t n = 0, labels = 0;
};

/// Cohen (1960); weighted: Cohen (1968). `weights`: none, linear or quadratic in the distance between labels, which is that of
/// their places in the sorted list of labels used (numbers sort as numbers).
Kappa cohen_kappa(const std::vector<std::string>& a, const std::vector<std::string>& b, const std::string& weights);

/// 1 - C(n-c, k) / C(n, k): the unbiased estimate of the chance that at least one of k samples passes, from n samples of which c
/// pass (Chen et al., 2021, "Evaluating Large Language Models Trained on Code", equation 1). Absent for k > n.
std::optional<double> pass_at_k(int64_t n, int64_t c, int64_t k);

}  // namespace seqmill::metric
