#include "reward/pair_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "metric/calibration.h"
#include "metric/resample.h"
#include "metric/table.h"

namespace seqmill::reward {
namespace {

using Verdicts = std::vector<const PairVerdict*>;

template <typename Condition>
Verdicts those(const Verdicts& verdicts, Condition condition) {
  Verdicts chosen;
  std::copy_if(verdicts.begin(), verdicts.end(), std::back_inserter(chosen), [&](const PairVerdict* verdict) { return condition(*verdict); });
  return chosen;
}

/// Absent for none.
template <typename Number>
io::Json mean_of(const Verdicts& verdicts, Number number) {
  double sum = 0;
  for (const PairVerdict* verdict : verdicts) sum += number(*verdict);
  return verdicts.empty() ? io::Json() : io::Json(sum / static_cast<double>(verdicts.size()));
}

/// Accuracy and its interval; pairs of one comparison are drawn together.
void put_accuracy(const Verdicts& verdicts, const ReportOptions& options, io::Json& report) {
  report.set("accuracy", mean_of(verdicts, [](const PairVerdict& verdict) { return verdict.is_correct(); }));
  std::map<size_t, std::array<double, 2>> comparisons;
  for (const PairVerdict* verdict : verdicts) {
    std::array<double, 2>& sums = comparisons[verdict->comparison];
    sums[0] += verdict->is_correct();
    ++sums[1];
  }
  metric::LineStatistics statistics;
  statistics.width = 2;
  for (const auto& [number, sums] : comparisons) statistics.numbers.insert(statistics.numbers.end(), sums.begin(), sums.end());
  io::Json interval;
  if (!verdicts.empty()) {
    const metric::Sample sample{&statistics, 1, [](const double* sums, double, double* out) { *out = sums[0] / sums[1]; }};
    const metric::Bootstrap bootstrap = metric::bootstrap(sample, options.samples, options.seed).at(0);
    interval = io::Json::list(std::vector<double>{bootstrap.low, bootstrap.high});
  }
  report.set("ci95", interval);
  report.set("n", static_cast<int64_t>(verdicts.size()));
  report.set("comparisons", static_cast<int64_t>(comparisons.size()));
}

void put_styles(const Verdicts& verdicts, io::Json& report) {
  const Verdicts styled = those(verdicts, [](const PairVerdict& verdict) { return verdict.styles > 0; });
  if (styled.empty()) return;
  const auto styles = static_cast<size_t>(styled[0]->styles);
  std::vector<std::vector<double>> wins(styles, std::vector<double>(styles)), counts = wins;
  for (const PairVerdict* verdict : styled) {
    if (verdict->styles != styled[0]->styles) fail("comparisons of {} and of {} styles cannot be summed up together", styles, verdict->styles);
    const auto row = static_cast<size_t>(verdict->chosen_style), column = static_cast<size_t>(verdict->rejected_style);
    wins[row][column] += verdict->is_correct();
    ++counts[row][column];
  }
  for (size_t i = 0; i < styles; ++i) {
    for (size_t j = 0; j < styles; ++j) wins[i][j] /= std::max(1.0, counts[i][j]);
  }
  const StyleAccuracy accuracy = style_accuracy(wins);
  report.set("easy", styles > 1 ? io::Json(accuracy.easy) : io::Json());
  report.set("normal", accuracy.normal);
  report.set("hard", styles > 1 ? io::Json(accuracy.hard) : io::Json());
  report.set("style-mean", styles > 1 ? io::Json((accuracy.easy + accuracy.normal + accuracy.hard) / 3) : io::Json(accuracy.normal));
}

io::Json summary(const Verdicts& verdicts, const ReportOptions& options) {
  io::Json report = io::Json::object();
  put_accuracy(verdicts, options, report);
  report.set("ties", static_cast<int64_t>(those(verdicts, [](const PairVerdict& verdict) { return verdict.is_tie(); }).size()));
  report.set("margin", mean_of(verdicts, [](const PairVerdict& verdict) { return verdict.margin(); }));
  std::vector<double> probabilities;
  for (const PairVerdict* verdict : verdicts) probabilities.push_back(verdict->probability);
  const metric::Calibration calibration = metric::calibration(probabilities);
  report.set("ece", verdicts.empty() ? io::Json() : io::Json(calibration.ece));
  report.set("brier", verdicts.empty() ? io::Json() : io::Json(calibration.brier));
  const Verdicts judged = those(verdicts, [](const PairVerdict& verdict) { return verdict.orders.has_value(); });
  if (!judged.empty()) {
    report.set("order-consistency", mean_of(judged, [](const PairVerdict& verdict) {
                 const auto [one, other] = *verdict.orders;
                 return metric::orders_agree(one - 0.5, other - 0.5);
               }));
  }
  put_styles(verdicts, report);
  return report;
}

io::Json sureness(const Verdicts& verdicts) {
  std::vector<double> confidence, right;
  for (const PairVerdict* verdict : verdicts) {
    confidence.push_back(std::abs(verdict->margin()));
    right.push_back(verdict->is_correct());
  }
  const metric::RiskCoverage curve = metric::risk_coverage(confidence, right);
  io::Json json = io::Json::object();
  json.set("coverage", io::Json::list(curve.coverage));
  json.set("accuracy", io::Json::list(curve.accuracy));
  json.set("area", curve.area);
  return json;
}

std::string text_of(const io::Json* value, int digits) {
  if (!value || value->is_null()) return "-";
  return value->is_int() ? fmt::format("{}", value->as_int()) : fmt::format("{:.{}f}", value->as_double(), digits);
}

std::vector<std::string> row_of(const std::string& name, const io::Json& report, const std::vector<std::string>& columns) {
  std::vector<std::string> row{name};
  for (const std::string& column : columns) {
    if (column != "ci95") {
      row.push_back(text_of(report.find(column), 4));
      continue;
    }
    const io::Json* interval = report.find(column);
    const bool known = interval && interval->is_array();
    for (size_t end = 0; end < 2; ++end) row.push_back(known ? text_of(&interval->as_array()[end], 4) : "-");
  }
  return row;
}

}  // namespace

StyleAccuracy style_accuracy(const std::vector<std::vector<double>>& wins) {
  StyleAccuracy accuracy;
  const auto styles = static_cast<double>(wins.size());
  for (size_t i = 0; i < wins.size(); ++i) {
    for (size_t j = 0; j < wins.size(); ++j) (i > j ? accuracy.easy : i == j ? accuracy.normal : accuracy.hard) += wins[i][j];
  }
  const double beside = std::max(1.0, styles * (styles - 1) / 2);
  return {accuracy.easy / beside, accuracy.normal / std::max(1.0, styles), accuracy.hard / beside};
}

io::Json pair_report(const std::vector<PairVerdict>& verdicts, const ReportOptions& options) {
  Verdicts all;
  std::map<std::string, Verdicts> subsets;
  for (const PairVerdict& verdict : verdicts) {
    all.push_back(&verdict);
    subsets[verdict.subset].push_back(&verdict);
  }
  io::Json report = summary(all, options);
  io::Json matched = io::Json::object();
  put_accuracy(those(all, [](const PairVerdict& verdict) { return verdict.similar_length; }), options, matched);
  report.set("length-matched", matched);
  report.set("risk-coverage", all.empty() ? io::Json() : sureness(all));
  io::Json by_name = io::Json::object();
  if (subsets.size() > 1 || (subsets.size() == 1 && !subsets.begin()->first.empty())) {
    double sum = 0;
    for (const auto& [name, members] : subsets) {
      by_name.set(name, summary(members, options));
      sum += by_name.at(name).at("accuracy").as_double();
    }
    report.set("subset-mean", sum / static_cast<double>(subsets.size()));
  }
  report.set("subsets", by_name);
  return report;
}

std::string pair_report_text(const io::Json& report) {
  std::vector<std::string> columns{"accuracy", "ci95", "n", "ties", "margin", "ece", "brier"};
  for (const char* column : {"order-consistency", "easy", "normal", "hard"}) {
    if (report.find(column)) columns.emplace_back(column);
  }
  std::vector<std::vector<std::string>> table{{"subset"}};
  for (const std::string& column : columns) {
    if (column == "ci95") table[0].insert(table[0].end(), {"low", "high"});
    else table[0].push_back(column);
  }
  table.push_back(row_of("all", report, columns));
  table.push_back(row_of("length-matched", report.at("length-matched"), columns));
  for (const auto& [name, subset] : report.at("subsets").as_object()) table.push_back(row_of(name.empty() ? "(none)" : name, subset, columns));
  std::string text = metric::format_table(table);
  const io::Json& curve = report.at("risk-coverage");
  if (!curve.is_object()) return text;
  table = {{"coverage"}, {"accuracy"}};
  for (const io::Json& coverage : curve.at("coverage").as_array()) table[0].push_back(text_of(&coverage, 1));
  for (const io::Json& accuracy : curve.at("accuracy").as_array()) table[1].push_back(text_of(&accuracy, 4));
  text += "\n" + metric::format_table(table) + fmt::format("area      {}\n", text_of(curve.find("area"), 4));
  return text;
}

}  // namespace seqmill::reward
