#pragma once
// How resampling results look, in JSON and in tables; shared by scores of texts and columns of numbers.

#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "metric/resample.h"
#include "metric/score_report.h"

namespace seqmill::metric {

struct PairedTests {
  double delta = 0;  ///< system - baseline
  std::optional<PairedBootstrap> bootstrap;
  std::optional<double> randomisation_p;
};

/// The tests asked for; `delta` is left to the caller.
PairedTests run_paired_tests(const Sample& baseline, const Sample& system, bool higher_is_better,
                             const ResampleOptions& options, uint64_t seed);

/// {mean, ci95_half_width, low, mid, high}
io::Json bootstrap_json(const Bootstrap& bootstrap);
/// Sets "delta" and, for each test that was run, "bootstrap" and "randomise".
void add_paired_json(const PairedTests& tests, const ResampleOptions& options, io::Json& json);

/// "[36.1, 38.7]"
std::string interval_text(const Bootstrap& bootstrap, int decimals);
void add_paired_header(const ResampleOptions& options, std::vector<std::string>& row);
void add_paired_cells(const PairedTests& tests, const ResampleOptions& options, int decimals, std::vector<std::string>& row);

}  // namespace seqmill::metric
