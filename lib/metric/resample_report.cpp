#include "metric/resample_report.h"

#include <fmt/format.h>

namespace seqmill::metric {

PairedTests run_paired_tests(const Sample& baseline, const Sample& system, bool higher_is_better,
                             const ResampleOptions& options, uint64_t seed) {
  PairedTests tests;
  if (options.bootstrap > 0) {
    tests.bootstrap = paired_bootstrap(baseline, system, higher_is_better, options.bootstrap, seed);
  }
  if (options.randomise > 0) tests.randomisation_p = paired_randomisation(baseline, system, options.randomise, seed);
  return tests;
}

io::Json bootstrap_json(const Bootstrap& bootstrap) {
  io::Json json;
  json.set("mean", bootstrap.mean);
  json.set("ci95_half_width", bootstrap.half_width);
  json.set("low", bootstrap.low);
  json.set("mid", bootstrap.median);
  json.set("high", bootstrap.high);
  return json;
}

void add_paired_json(const PairedTests& tests, const ResampleOptions& options, io::Json& json) {
  json.set("delta", tests.delta);
  if (tests.bootstrap) {
    io::Json entry = bootstrap_json(tests.bootstrap->system);
    entry.set("p_value", tests.bootstrap->p_value);
    entry.set("delta_mean", tests.bootstrap->delta.mean);
    entry.set("delta_ci95_low", tests.bootstrap->delta.low);
    entry.set("delta_ci95_high", tests.bootstrap->delta.high);
    entry.set("better_fraction", tests.bootstrap->better_fraction);
    entry.set("samples", options.bootstrap);
    json.set("bootstrap", std::move(entry));
  }
  if (tests.randomisation_p) {
    io::Json entry;
    entry.set("p_value", *tests.randomisation_p);
    entry.set("trials", options.randomise);
    json.set("randomise", std::move(entry));
  }
}

std::string interval_text(const Bootstrap& bootstrap, int decimals) {
  return fmt::format("[{:.{}f}, {:.{}f}]", bootstrap.low, decimals, bootstrap.high, decimals);
}

void add_paired_header(const ResampleOptions& options, std::vector<std::string>& row) {
  if (options.bootstrap > 0) row.insert(row.end(), {"delta-95%", "better", "p-bootstrap"});
  if (options.randomise > 0) row.push_back("p-randomise");
}

void add_paired_cells(const PairedTests& tests, const ResampleOptions& options, int decimals, std::vector<std::string>& row) {
  if (options.bootstrap > 0) {
    row.push_back(interval_text(tests.bootstrap->delta, decimals));
    row.push_back(fmt::format("{:.3f}", tests.bootstrap->better_fraction));
    row.push_back(fmt::format("{:.4f}", tests.bootstrap->p_value));
  }
  if (options.randomise > 0) row.push_back(fmt::format("{:.4f}", *tests.randomisation_p));
}

}  // namespace seqmill::metric
