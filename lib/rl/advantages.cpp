#include "rl/advantages.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace seqmill::rl {
namespace {

double deviation_of(const std::vector<double>& values, double mean) {
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// (value - from) / width, where a width of 0 counts as 1.
void rescale(std::vector<double>& values, double from, double width) {
  for (double& value : values) value = (value - from) / (width > 0 ? width : 1);
}

void normalise(std::vector<double>& values, const std::string& how) {
  if (how == "none" || values.empty()) return;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double low = *least, high = *most, mean = exact_mean(values);
  if (how == "z") rescale(values, mean, deviation_of(values, mean));
  else if (how == "minmax") rescale(values, low, high - low);
  else rescale(values, mean, high - mean);
}

double baseline_of(const Group& group, const AdvantageOptions& options, const RewardQueue& queue) {
  if (options.uses_queue()) return queue.mean();
  if (options.baseline == "group-mean") return exact_mean(group.rewards);
  return options.needs_greedy() ? group.greedy : 0;
}

}  // namespace

void AdvantageOptions::declare(Options& options) {
  options.add("advantage.baseline", baseline, "What is taken away from rewards: the mean of the newest of the training (fifo-z: over their deviation), that of an input's candidates, the greedy output's")
      .one_of({"none", "fifo-mean", "fifo-z", "group-mean", "greedy"});
  options.add("advantage.queue", queue, "How many rewards the first-in-first-out queue of fifo-mean and fifo-z keeps").range(1);
  options.add("advantage.normalise", normalise, "Within the candidates of an input, after the baseline").one_of({"none", "z", "minmax", "mean-max"});
  options.add("advantage.scale", scale, "Multiplies advantages").range(0);
  options.add("advantage.clip", clip, "Largest magnitude of an advantage; 0: any").range(0);
  options.add("advantage.penalty-scale", penalty_scale, "Multiplies negative advantages").range(0);
}

void AdvantageOptions::check() const {
  if (baseline != "none" && normalise == "minmax") fail_usage("--advantage.normalise minmax takes every baseline away again: it needs --advantage.baseline none");
}

std::vector<std::vector<double>> advantages_of(const std::vector<Group>& groups, const AdvantageOptions& options, const RewardQueue& queue) {
  const double deviation = options.baseline == "fifo-z" ? queue.deviation() : 1;
  std::vector<std::vector<double>> all;
  for (const Group& group : groups) {
    std::vector<double> values = group.rewards;
    rescale(values, values.empty() ? 0 : baseline_of(group, options, queue), deviation);
    normalise(values, options.normalise);
    for (double& value : values) {
      value *= options.scale;
      if (options.clip > 0) value = std::clamp(value, -options.clip, options.clip);
      if (value < 0) value *= options.penalty_scale;
    }
    all.push_back(std::move(values));
  }
  return all;
}

double mean_baseline(const std::vector<Group>& groups, const AdvantageOptions& options, const RewardQueue& queue) {
  double sum = 0, count = 0;
  for (const Group& group : groups) {
    if (group.rewards.empty()) continue;
    sum += baseline_of(group, options, queue);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

size_t left_of(size_t inputs, double ratio) {
  // Of 10 inputs 0.3 are 3, although 0.3 * 10 may be rounded to a little more.
  const auto dropped = static_cast<size_t>(std::ceil(ratio * static_cast<double>(inputs) - 1e-9));
  return std::max<size_t>(1, inputs - std::min(inputs, dropped));
}

std::vector<size_t> eliminate(const std::vector<double>& capabilities, double ratio) {
  std::vector<size_t> order(capabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (order.empty()) return order;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return capabilities[a] < capabilities[b]; });
  order.resize(left_of(order.size(), ratio));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace seqmill::rl
