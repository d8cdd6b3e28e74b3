#include "base/team.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "base/threads.h"

namespace seqmill {

Team::Team(int64_t size, std::function<void()> begin) : size_(size), errors_(static_cast<size_t>(size)) {
  if (size_ == 1) return;
  threads_.reserve(static_cast<size_t>(size_));
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
  std::exception_ptr refused;
  try {
    begin();
  } catch (...) {
    refused = std::current_exception();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  for (int64_t known = 0;; known = calls_) {
    called_.wait(lock, [&] { return ends_ || calls_ != known; });
    if (ends_) return;
    const std::function<void(int64_t)>& work = *work_;
    lock.unlock();
    std::exception_ptr error = refused;
    try {
      if (!refused) work(member);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    errors_[static_cast<size_t>(member)] = error;
    if (--busy_ == 0) done_.notify_one();
  }
}

int64_t team_size(int64_t parts, int threads) {
  constexpr double kMostIdle = 1.0 / 8;  // of the turns
  const int64_t turns = (parts + threads - 1) / threads;
  const double idle = 1 - static_cast<double>(parts) / static_cast<double>(turns * threads);
  return parts > 0 && idle <= kMostIdle && !threads_are_bound() ? threads : 1;
}

}  // namespace seqmill
