#include "rl/reward_queue.h"

#include <cmath>

#include "base/error.h"

namespace seqmill::rl {

RewardQueue::RewardQueue(int64_t capacity) : capacity_(static_cast<size_t>(capacity)) {
  if (capacity < 1) fail_usage("a queue of {} rewards: expected at least one", capacity);
}

void RewardQueue::push(const std::vector<double>& rewards) {
  rewards_.insert(rewards_.end(), rewards.begin(), rewards.end());
  if (rewards_.size() > capacity_) rewards_.erase(rewards_.begin(), rewards_.end() - static_cast<std::ptrdiff_t>(capacity_));
}

double RewardQueue::mean() const { return rewards_.empty() ? 0 : exact_mean(rewards_); }

double RewardQueue::deviation() const {
  const double centre = mean();
  double sum = 0;
  for (const double reward : rewards_) sum += (reward - centre) * (reward - centre);
  return rewards_.empty() ? 0 : std::sqrt(sum / static_cast<double>(rewards_.size()));
}

io::Json RewardQueue::to_json() const { return io::Json::list(std::vector<double>(rewards_.begin(), rewards_.end())); }

void RewardQueue::set(const io::Json& json) {
  if (!json.is_array()) fail("the queue of rewards: expected a list of numbers");
  std::vector<double> rewards;
  for (const io::Json& value : json.as_array()) {
    const double reward = value.as_double();
    if (!std::isfinite(reward)) fail("the queue of rewards: found {}", reward);
    rewards.push_back(reward);
  }
  rewards_.clear();
  push(rewards);
}

}  // namespace seqmill::rl
