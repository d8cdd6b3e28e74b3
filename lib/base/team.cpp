#include "base/team.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "base/error.h"

namespace seqmill {

Team::Team(int64_t size, std::function<void()> begin) : size_(size), errors_(static_cast<size_t>(size)) {
  if (size_ == 1) return;
  for (int64_t member = 0; member < size_; ++member) {
    try {
      threads_.emplace_back([this, member, begin] { work_on(member, begin); });
    } catch (const std::system_error& refused) {
      end();
      fail("cannot start a thread: {}; fewer --threads need fewer", refused.what());
    }
  }
}

Team::~Team() { end(); }

void Team::end() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  called_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Team::run(const std::function<void(int64_t)>& work) {
  if (size_ == 1) return work(0);
  std::unique_lock<std::mutex> lock(mutex_);
  std::fill(errors_.begin(), errors_.end(), nullptr);
  work_ = &work;
  busy_ = size_;
  ++calls_;
  called_.notify_all();
  done_.wait(lock, [this] { return busy_ == 0; });
  for (const std::exception_ptr& error : errors_) {
    if (error) std::rethrow_exception(error);
  }
}

void Team::work_on(int64_t member, const std::function<void()>& begin) {
  begin();
  std::unique_lock<std::mutex> lock(mutex_);
  for (int64_t known = 0;; known = calls_) {
    called_.wait(lock, [&] { return ends_ || calls_ != known; });
    if (ends_) return;
    const std::function<void(int64_t)>& work = *work_;
    lock.unlock();
    std::exception_ptr error;
    try {
      work(member);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    errors_[static_cast<size_t>(member)] = error;
    if (--busy_ == 0) done_.notify_one();
  }
}

int64_t best_team(int64_t parts, int threads) {
  constexpr double kGainOfThreads = 0.9;  // as a power of their number
  int64_t best = 1;
  double least = INFINITY;
  for (int64_t size = 1; size <= std::min<int64_t>(parts, threads); ++size) {
    const int64_t each = threads / size, turns = (parts + size - 1) / size;
    const double time = static_cast<double>(turns) / std::pow(static_cast<double>(each), kGainOfThreads);
    if (time <= least) {
      least = time;
      best = size;
    }
  }
  return best;
}

}  // namespace seqmill
