#pragma once
// Threads that stay, each with work of its own, for work that takes long enough for nothing to be gained by splitting it finer.

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace seqmill {

class Team {
 public:
  /// `begin` is called once by each member, in its thread; what it throws is thrown by the first run(). A team of one has no thread: its member is
  /// whoever calls run(), and `begin` is not called. Throws Error when the system refuses a thread.
  explicit Team(int64_t size, std::function<void()> begin = [] {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int64_t size() const { return size_; }

  /// Calls work(member) for every member 0 .. size - 1, all at the same time, and returns when all have ended. Then the first exception, by the
  /// number of the member, is thrown again. Not to be called by two threads at a time.
  void run(const std::function<void(int64_t)>& work);

 private:
  void work_on(int64_t member, const std::function<void()>& begin);
  void end();

  int64_t size_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable called_, done_;
  const std::function<void(int64_t)>* work_ = nullptr;
  int64_t calls_ = 0, busy_ = 0;
  bool ends_ = false;
  std::vector<std::exception_ptr> errors_;
};

/// Members for `parts` equal parts of work: one for each thread, or one that takes part after part with all threads when too many would be idle in the
/// last turn, or when this process's threads are bound to cores (OMP_PROC_BIND), where all members would get the first thread's.
int64_t team_size(int64_t parts, int threads);

}  // namespace seqmill
