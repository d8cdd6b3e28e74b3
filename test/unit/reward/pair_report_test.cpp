#include "reward/pair_report.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "metric/calibration.h"

using namespace seqmill;
using namespace seqmill::reward;

namespace {

PairVerdict verdict(size_t comparison, double margin, const std::string& subset = "") {
  PairVerdict made;
  made.comparison = comparison;
  made.subset = subset;
  made.chosen_score = margin;
  made.probability = 1 / (1 + std::exp(-margin));
  return made;
}

double number(const io::Json& report, const char* key) { return report.at(key).as_double(); }

}  // namespace

TEST_CASE("accuracy, ties, margins and subsets of pairs") {
  std::vector<PairVerdict> verdicts{verdict(0, 2, "a"), verdict(1, -1, "a"), verdict(2, 0, "b"), verdict(3, 3, "b"), verdict(3, 1, "b")};
  verdicts[0].similar_length = verdicts[1].similar_length = true;
  const io::Json report = pair_report(verdicts, {});
  CHECK(number(report, "accuracy") == Approx(0.6));
  CHECK(report.at("n").as_int() == 5);
  CHECK(report.at("comparisons").as_int() == 4);
  CHECK(report.at("ties").as_int() == 1);
  CHECK(number(report, "margin") == Approx(1));
  const io::JsonArray& interval = report.at("ci95").as_array();
  CHECK((interval[0].as_double() >= 0 && interval[0].as_double() < 0.6 && interval[1].as_double() > 0.6 && interval[1].as_double() <= 1));
  CHECK(number(report.at("length-matched"), "accuracy") == Approx(0.5));
  CHECK(report.at("length-matched").at("n").as_int() == 2);
  CHECK(number(report.at("subsets").at("a"), "accuracy") == Approx(0.5));
  CHECK(number(report.at("subsets").at("b"), "accuracy") == Approx(2.0 / 3));
  CHECK(number(report, "subset-mean") == Approx((0.5 + 2.0 / 3) / 2));
  CHECK_FALSE(report.find("order-consistency"));
  CHECK_FALSE(report.find("easy"));
  CHECK(pair_report_text(report).find("length-matched") != std::string::npos);
  CHECK(pair_report(verdicts, {}).dump() == report.dump());
  // Nothing of similar length: undefined, not zero.
  const io::Json alone = pair_report({verdict(0, 1)}, {});
  CHECK(alone.at("length-matched").at("accuracy").is_null());
  CHECK(alone.at("subsets").as_object().empty());
}

TEST_CASE("pairs of one comparison are resampled together") {
  std::vector<PairVerdict> together, apart;
  for (size_t i = 0; i < 40; ++i) {
    for (size_t k = 0; k < 9; ++k) {
      together.push_back(verdict(i, i % 2 == 0 ? 1 : -1));
      apart.push_back(verdict(9 * i + k, i % 2 == 0 ? 1 : -1));
    }
  }
  const auto width = [](const std::vector<PairVerdict>& verdicts) {
    const io::Json report = pair_report(verdicts, {});
    const io::JsonArray& interval = report.at("ci95").as_array();
    return interval[1].as_double() - interval[0].as_double();
  };
  CHECK(width(together) / width(apart) == Approx(3).epsilon(0.2));
}

TEST_CASE("RM-Bench: easy below the diagonal of the win matrix, hard above it") {
  // Rows: the chosen answer concise, detailed, in Markdown; columns: the rejected one.
  const std::vector<std::vector<double>> wins{{1, 0, 0}, {1, 1, 0.5}, {1, 0.5, 0}};
  const StyleAccuracy accuracy = style_accuracy(wins);
  CHECK(accuracy.easy == Approx(2.5 / 3));
  CHECK(accuracy.normal == Approx(2.0 / 3));
  CHECK(accuracy.hard == Approx(0.5 / 3));
  std::vector<PairVerdict> verdicts;
  for (size_t item = 0; item < 2; ++item) {
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < 3; ++j) {
        const double share = wins[static_cast<size_t>(i)][static_cast<size_t>(j)];
        verdicts.push_back(verdict(item, share == 1 || (share == 0.5 && item == 0) ? 1 : -1));
        verdicts.back().styles = 3;
        verdicts.back().chosen_style = i;
        verdicts.back().rejected_style = j;
      }
    }
  }
  const io::Json report = pair_report(verdicts, {});
  CHECK(number(report, "easy") == Approx(2.5 / 3));
  CHECK(number(report, "normal") == Approx(2.0 / 3));
  CHECK(number(report, "hard") == Approx(0.5 / 3));
  CHECK(number(report, "style-mean") == Approx((2.5 + 2 + 0.5) / 9));
  CHECK(number(report, "accuracy") == Approx(5.0 / 9));
}

TEST_CASE("orders are consistent when both have the same winner") {
  std::vector<PairVerdict> verdicts(4);
  const std::vector<std::array<double, 2>> orders{{0.9, 0.6}, {0.9, 0.2}, {0.4, 0.1}, {0.5, 0.7}};
  for (size_t i = 0; i < 4; ++i) {
    verdicts[i].comparison = i;
    verdicts[i].orders = orders[i];
    verdicts[i].chosen_score = verdicts[i].probability = (orders[i][0] + orders[i][1]) / 2;
    verdicts[i].rejected_score = 1 - verdicts[i].chosen_score;
  }
  const io::Json report = pair_report(verdicts, {});
  CHECK(number(report, "order-consistency") == Approx(0.5));
  CHECK(pair_report_text(report).find("order-consistency") != std::string::npos);
  CHECK(number(report, "accuracy") == Approx(0.75));
}

TEST_CASE("calibration by hand") {
  // Confidences 0.9 (right), 0.9 (wrong), 0.6 (right), 0.5 (neither).
  const metric::Calibration made = metric::calibration({0.9, 0.1, 0.6, 0.5});
  CHECK(made.brier == Approx((0.01 + 0.81 + 0.16 + 0.25) / 4));
  CHECK(made.ece == Approx((std::abs(1 - 1.8) + std::abs(1 - 0.6) + 0) / 4));
  CHECK(metric::calibration(std::vector<double>(10, 1)).ece == Approx(0).margin(1e-12));
}

TEST_CASE("accuracy of the surest, by hand") {
  const metric::RiskCoverage curve = metric::risk_coverage({4, 3, 2, 1}, {1, 1, 0, 0});
  CHECK(curve.coverage.front() == 1);
  CHECK(curve.accuracy.front() == Approx(0.5));
  CHECK(curve.accuracy.back() == Approx(1));
  CHECK(curve.area == Approx((1 + 1 + 2.0 / 3 + 0.5) / 4));
  // Equally sure ones count as their mean, wherever they stand.
  CHECK(metric::risk_coverage({1, 1}, {1, 0}).area == Approx(0.5));
  CHECK(metric::risk_coverage({1, 1}, {0, 1}).area == Approx(0.5));
}
