#include "train/gradient_sum.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include "base/time_spent.h"

namespace seqmill::train {

/// Runs when the gradient of one parameter is complete.
class GradientSum::Hook final : public torch::autograd::FunctionPostHook {
 public:
  Hook(GradientSum& owner, size_t bucket) : owner_(owner), bucket_(bucket) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    owner_.ready(bucket_);
    return outputs;
  }

 private:
  GradientSum& owner_;
  size_t bucket_;
};

GradientSum::GradientSum(nn::Parameters& parameters, Ranks& ranks, int64_t bucket_numbers) : parameters_(parameters), ranks_(ranks) {
  if (ranks.count() == 1) return;
  int64_t end = parameters.flat_gradients().numel();
  for (auto parameter = parameters.all().rbegin(); parameter != parameters.all().rend(); ++parameter) {
    if (buckets_.empty() || buckets_.back().end - buckets_.back().begin >= bucket_numbers) buckets_.push_back({end, end, 0, 0});
    Bucket& bucket = buckets_.back();
    end -= parameter->value.numel();
    bucket.begin = end;
    if (!parameter->value.requires_grad()) continue;
    ++bucket.parameters;
    const auto accumulator = torch::autograd::impl::grad_accumulator(parameter->value);
    hooks_.emplace_back(accumulator, accumulator->add_post_hook(std::make_unique<Hook>(*this, buckets_.size() - 1)));
  }
}

GradientSum::~GradientSum() {
  for (const auto& [accumulator, hook] : hooks_) accumulator->del_post_hook(hook);
}

void GradientSum::expect() {
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters;
  expects_ = true;
}

void GradientSum::ready(size_t bucket) {
  if (!expects_) return;
  --buckets_[bucket].missing;
  start_ready();
}

void GradientSum::start_ready() {
  const Timed timed(Work::kRanks);
  while (started_ < buckets_.size() && buckets_[started_].missing == 0) {
    const Bucket& bucket = buckets_[started_++];
    ranks_.begin_sum(parameters_.flat_gradients().narrow(0, bucket.begin, bucket.end - bucket.begin));
  }
}

void GradientSum::finish() {
  const Timed timed(Work::kRanks);
  for (Bucket& bucket : buckets_) bucket.missing = 0;
  start_ready();
  ranks_.finish_sums();
  started_ = 0;
  expects_ = false;
}

}  // namespace seqmill::train
