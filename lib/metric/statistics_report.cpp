#include "metric/statistics_report.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "io/json.h"
#include "metric/agreement.h"
#include "metric/columns.h"
#include "metric/correlation.h"
#include "metric/resample_report.h"
#include "metric/table.h"

namespace seqmill::metric {
namespace {

io::Json or_null(const std::optional<double>& value) { return value ? io::Json(*value) : io::Json(); }

std::string or_undefined(const std::optional<double>& value) { return value ? fmt::format("{:.6f}", *value) : "undefined"; }

GroupedCorrelation correlate_columns(const NumberColumns& columns) {
  if (!columns.groups.empty()) return correlate_groups(columns.x, columns.y, columns.groups);
  GroupedCorrelation whole;
  whole.mean = correlate(columns.x, columns.y);
  whole.groups = 1;
  whole.undefined = whole.mean.undefined_reason.empty() ? 0 : 1;
  return whole;
}

std::string correlation_json(const GroupedCorrelation& result, bool grouped) {
  const CorrelationSet& set = result.mean;
  io::Json json;
  json.set("pearson", or_null(set.pearson.value));
  json.set("spearman", or_null(set.spearman.value));
  json.set("kendall", or_null(set.kendall.value));
  json.set("n", static_cast<int64_t>(set.n));
  json.set("groups", static_cast<int64_t>(result.groups));
  json.set("undefined-groups", static_cast<int64_t>(result.undefined));
  if (!set.undefined_reason.empty()) json.set("undefined-reason", set.undefined_reason);
  if (!grouped) {
    json.set("pearson-p", or_null(set.pearson.p_value));
    json.set("spearman-p", or_null(set.spearman.p_value));
    json.set("kendall-p", or_null(set.kendall.p_value));
    io::Json interval;
    if (set.pearson_interval) {
      interval = io::Json::list(std::vector<double>{set.pearson_interval->low, set.pearson_interval->high});
    }
    json.set("pearson-ci95", std::move(interval));
  }
  return json.dump() + '\n';
}

std::string correlation_text(const GroupedCorrelation& result, bool grouped) {
  const CorrelationSet& set = result.mean;
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const char* name, const Correlation& correlation) {
    rows.push_back({name, or_undefined(correlation.value)});
    if (correlation.p_value) rows.back().push_back(fmt::format("p = {:.4g}", *correlation.p_value));
  };
  add("Pearson", set.pearson);
  if (set.pearson_interval) {
    rows.back().push_back(fmt::format("95% [{:.4f}, {:.4f}]", set.pearson_interval->low, set.pearson_interval->high));
  }
  add("Spearman", set.spearman);
  add("Kendall tau-b", set.kendall);
  std::string text = format_table(rows) + fmt::format("n = {}", set.n);
  if (grouped) {
    text += fmt::format("; mean over {} of {} groups, undefined in {}", result.groups - result.undefined, result.groups,
                        result.undefined);
  }
  if (!set.undefined_reason.empty()) text += "; " + set.undefined_reason;
  return text + '\n';
}

std::vector<int64_t> parse_ks(const std::string& list) {
  std::vector<int64_t> ks;
  for (const std::string& field : split(list, ',')) {
    int64_t k = 0;
    if (!parse_int(field, k) || k < 1) fail_usage("--pass-at-k expects numbers from 1 such as '1,10', found '{}'", list);
    ks.push_back(k);
  }
  return ks;
}

// The mean over the problems, absent when it is for any of them.
std::optional<double> mean_pass(const std::vector<PassRecord>& records, int64_t k) {
  double sum = 0;
  for (const PassRecord& record : records) {
    const auto value = pass_at_k(record.n, record.c, k);
    if (!value) return std::nullopt;
    sum += *value;
  }
  return sum / static_cast<double>(records.size());
}

std::string pass_json(const std::vector<PassRecord>& records, const std::vector<int64_t>& ks) {
  io::Json json;
  bool undefined = false;
  for (const int64_t k : ks) {
    const auto value = mean_pass(records, k);
    json.set(fmt::format("pass@{}", k), or_null(value));
    undefined |= !value;
  }
  json.set("problems", static_cast<int64_t>(records.size()));
  if (undefined) json.set("undefined-reason", "k exceeds n of some problem");
  return json.dump() + '\n';
}

std::string pass_text(const std::vector<PassRecord>& records, const std::vector<int64_t>& ks) {
  std::vector<std::vector<std::string>> rows;
  for (const int64_t k : ks) {
    const auto value = mean_pass(records, k);
    rows.push_back({fmt::format("pass@{}", k), or_undefined(value)});
    if (!value) rows.back().push_back("k exceeds n of some problem");
  }
  return format_table(rows) + fmt::format("{} problems\n", records.size());
}

std::string pass_line(const PassRecord& record, const std::vector<int64_t>& ks, bool json) {
  io::Json object;
  std::string text;
  for (const int64_t k : ks) {
    const auto value = pass_at_k(record.n, record.c, k);
    object.set(fmt::format("pass@{}", k), or_null(value));
    text += (text.empty() ? "" : "\t") + or_undefined(value);
  }
  return (json ? object.dump() : text) + '\n';
}

LineStatistics as_statistics(const std::vector<double>& column) { return {1, column}; }

}  // namespace

std::string correlation_report(const std::string& path, bool json) {
  const NumberColumns columns = read_number_columns(path);
  const GroupedCorrelation result = correlate_columns(columns);
  const bool grouped = !columns.groups.empty();
  return json ? correlation_json(result, grouped) : correlation_text(result, grouped);
}

std::string kappa_report(const std::string& path, const std::string& weights, bool json) {
  const LabelColumns columns = read_label_columns(path);
  const Kappa kappa = cohen_kappa(columns.a, columns.b, weights);
  constexpr const char* kReason = "expected agreement is 1: both raters use one and the same label";
  if (!json) {
    return fmt::format("kappa {}\nweights {}; observed agreement {:.6f}; n = {}, {} labels{}\n",
                       or_undefined(kappa.value), weights, kappa.observed_agreement, kappa.n, kappa.labels, kappa.value ? "" : std::string("; ") + kReason);
  }
  io::Json object;
  object.set("kappa", or_null(kappa.value));
  object.set("weights", weights);
  object.set("n", static_cast<int64_t>(kappa.n));
  object.set("labels", static_cast<int64_t>(kappa.labels));
  object.set("observed-agreement", kappa.observed_agreement);
  if (!kappa.value) object.set("undefined-reason", kReason);
  return object.dump() + '\n';
}

std::string pass_report(const std::string& path, const std::string& ks_text, bool by_problem, bool json) {
  const std::vector<int64_t> ks = parse_ks(ks_text);
  const std::vector<PassRecord> records = read_pass_records(path);
  if (!by_problem) return json ? pass_json(records, ks) : pass_text(records, ks);
  std::string text;
  for (const PassRecord& record : records) text += pass_line(record, ks, json);
  return text;
}

std::string paired_report(const std::string& path, ResampleOptions resample, uint64_t seed, bool json) {
  const NumberColumns columns = read_number_columns(path);
  if (!columns.groups.empty()) fail("{}: expected two columns, baseline and system; found three", path);
  if (resample.bootstrap == 0 && resample.randomise == 0) resample.bootstrap = 1000;
  const LineStatistics baseline = as_statistics(columns.x), system = as_statistics(columns.y);
  PairedTests tests = run_paired_tests(mean_of(baseline), mean_of(system), true, resample, seed);
  const auto n = static_cast<double>(columns.x.size());
  const double baseline_mean = baseline.sum()[0] / n, system_mean = system.sum()[0] / n;
  tests.delta = system_mean - baseline_mean;
  if (json) {
    io::Json object;
    object.set("n", static_cast<int64_t>(columns.x.size()));
    object.set("baseline_mean", baseline_mean);
    object.set("system_mean", system_mean);
    add_paired_json(tests, resample, object);
    return object.dump() + '\n';
  }
  constexpr int kDecimals = 4;
  std::vector<std::vector<std::string>> rows{{"baseline", "system", "delta"},
      {fmt::format("{:.4f}", baseline_mean), fmt::format("{:.4f}", system_mean), fmt::format("{:+.4f}", tests.delta)}};
  add_paired_header(resample, rows[0]);
  add_paired_cells(tests, resample, kDecimals, rows[1]);
  return format_table(rows);
}

}  // namespace seqmill::metric
