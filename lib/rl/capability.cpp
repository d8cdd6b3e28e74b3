#include "rl/capability.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace seqmill::rl {
namespace {

double within(double value) { return value >= 0 ? std::min(value, 1.0) : 0.0; }  // NaN is 0

}  // namespace

double reward_capability(double reward, double largest) { return within(reward / largest); }

double entropy_capability(const StepStatistics& steps, int64_t vocabulary) {
  if (steps.steps == 0 || vocabulary < 2) return 1;
  return within(1 - steps.entropy / static_cast<double>(steps.steps) / std::log(static_cast<double>(vocabulary)));
}

double max_probability_capability(const StepStatistics& steps) { return 1 + (steps.steps == 0 ? std::exp(1.0) : steps.peaks / static_cast<double>(steps.steps)); }

void DynamicSampling::declare(Options& options) {
  options.add("dynamic.capability", capability, "How well the model does on an input already: the reward of a greedy output, its entropy, its largest probabilities; random is the control")
      .one_of({"none", "reward", "entropy", "max-probability", "random"});
  options.add("dynamic.size", size, "Candidates of an input follow of the capability");
  options.add("dynamic.temperature", temperature, "The temperature follows of it");
  options.add("dynamic.least", least, "Fewest candidates of an input").range(1);
  options.add("dynamic.most", most, "Most candidates of an input").range(1);
  options.add("dynamic.coldest", coldest, "Lowest temperature").range(0.001);
  options.add("dynamic.hottest", hottest, "Highest temperature").range(0.001);
  options.add("dynamic.largest-reward", largest_reward, "Capability reward: what a perfect output gets");
}

void DynamicSampling::check() const {
  if (least > most) fail_usage("--dynamic.least {} is more than --dynamic.most {}", least, most);
  if (coldest > hottest) fail_usage("--dynamic.coldest {} is more than --dynamic.hottest {}", coldest, hottest);
  if (!(largest_reward > 0)) fail_usage("--dynamic.largest-reward {}: expected more than 0", largest_reward);
}

double DynamicSampling::capability_of(double reward, const StepStatistics& steps, int64_t vocabulary, Rng& rng) const {
  if (capability == "reward") return reward_capability(reward, largest_reward);
  if (capability == "entropy") return entropy_capability(steps, vocabulary);
  if (capability == "max-probability") return within((max_probability_capability(steps) - 1) / std::exp(1.0));
  if (capability == "random") return rng.uniform();
  return 0;
}

int64_t DynamicSampling::candidates(double capability_of_input, int64_t fixed) const {
  if (!follows_size()) return fixed;
  return least + std::llround((1 - capability_of_input) * static_cast<double>(most - least));
}

double DynamicSampling::temperature_of(double capability_of_input, double fixed) const {
  if (!follows_temperature()) return fixed;
  return coldest + (1 - capability_of_input) * (hottest - coldest);
}

}  // namespace seqmill::rl
