#include "train/gradient_sum.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"

namespace seqmill::train {

/// Runs when the gradient of one parameter is complete.
class GradientSum::Hook final : public torch::autograd::FunctionPostHook {
 public:
  Hook(GradientSum& owner, size_t worker, size_t bucket) : owner_(owner), worker_(worker), bucket_(bucket) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    owner_.ready(worker_, bucket_);
    return outputs;
  }

 private:
  GradientSum& owner_;
  size_t worker_, bucket_;
};

GradientSum::GradientSum(std::vector<nn::Parameters*> workers, Ranks& ranks, int64_t bucket_numbers)
    : workers_(std::move(workers)), ranks_(ranks), expects_(workers_.size(), 0) {
  if (ranks.count() == 1) return;
  int64_t end = workers_[0]->flat_gradients().numel();
  std::vector<std::vector<nn::Parameter>> trained;
  for (const nn::Parameters* worker : workers_) trained.push_back(worker->trained());
  for (size_t number = trained[0].size(); number-- > 0;) {
    if (buckets_.empty() || buckets_.back().end - buckets_.back().begin >= bucket_numbers) buckets_.push_back({end, end, 0, 0});
    Bucket& bucket = buckets_.back();
    end -= trained[0][number].value.numel();
    bucket.begin = end;
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      const at::Tensor& value = trained[worker][number].value;
      bucket.missing = ++bucket.parameters;
      const auto accumulator = torch::autograd::impl::grad_accumulator(value);
      hooks_.emplace_back(accumulator, accumulator->add_post_hook(std::make_unique<Hook>(*this, worker, buckets_.size() - 1)));
    }
  }
}

GradientSum::~GradientSum() {
  for (const auto& [accumulator, hook] : hooks_) accumulator->del_post_hook(hook);
}

void GradientSum::expect(int64_t worker) { expects_[static_cast<size_t>(worker)] = 1; }

void GradientSum::ready(size_t worker, size_t bucket) {
  if (!expects_[worker]) return;
  Bucket& mine = buckets_[bucket];
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--mine.missing > 0) return;
  }
  // Nobody else writes to it any more, and others need not wait.
  move_to_first(mine.begin, mine.end);
  const std::lock_guard<std::mutex> lock(mutex_);
  mine.complete = true;
  start_complete();
}

void GradientSum::start_complete() {
  const Timed timed(Work::kRanks);
  while (started_ < buckets_.size() && buckets_[started_].complete) {
    const Bucket& bucket = buckets_[started_++];
    ranks_.begin_sum(workers_[0]->flat_gradients().narrow(0, bucket.begin, bucket.end - bucket.begin));
  }
}

void GradientSum::move_to_first(int64_t begin, int64_t end) {
  const Timed timed(Work::kOptimizer);
  const at::Tensor sum = workers_[0]->flat_gradients().narrow(0, begin, end - begin);
  for (size_t worker = 1; worker < workers_.size(); ++worker) {
    const at::Tensor own = workers_[worker]->flat_gradients().narrow(0, begin, end - begin);
    float *from = own.data_ptr<float>(), *to = sum.data_ptr<float>();
    parallel_for(end - begin, 1 << 16, [&](int64_t first, int64_t last) {
      kernel::float_kernels().move_added(from + first, to + first, last - first);
    });
  }
}

void GradientSum::finish() {
  const Timed timed(Work::kRanks);
  if (ranks_.count() == 1) return move_to_first(0, workers_[0]->flat_gradients().numel());
  for (Bucket& bucket : buckets_) {
    if (!bucket.complete) move_to_first(bucket.begin, bucket.end);
    bucket.complete = true;
  }
  start_complete();
  ranks_.finish_sums();
  started_ = 0;
  for (Bucket& bucket : buckets_) {
    bucket.missing = bucket.parameters;
    bucket.complete = false;
  }
  std::fill(expects_.begin(), expects_.end(), 0);
}

}  // namespace seqmill::train
