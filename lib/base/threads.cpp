#include "base/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <fstream>
#include <mutex>

// The entry points that g++ itself emits calls to. Calling them keeps this file free of pragmas, so that a build with clang
// uses the same runtime (libgomp) that LibTorch was built with.
extern "C" {
void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
int omp_in_parallel();
void omp_set_num_threads(int);
int omp_get_max_threads();
int omp_get_proc_bind();
}

namespace seqmill {
namespace {

struct Region {
  int64_t count;
  int64_t parts;
  const std::function<void(int64_t, int64_t)>* work;
  std::mutex mutex;
  std::exception_ptr error;
};

void run_part(void* data) {
  auto& region = *static_cast<Region*>(data);
  for (int64_t part = omp_get_thread_num(); part < region.parts; part += omp_get_num_threads()) {
    try {
      (*region.work)(region.count * part / region.parts, region.count * (part + 1) / region.parts);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(region.mutex);
      if (!region.error) region.error = std::current_exception();
    }
  }
}

// The cores' worth of time that a container may use (control groups, version 2), rounded up.
int quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double time = 0, period = 0;
  return file >> time >> period && time > 0 && period > 0 ? static_cast<int>(std::ceil(time / period)) : CPU_SETSIZE;
}

}  // namespace

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, std::min(CPU_COUNT(&set), quota()));
}

int shared_threads(int processes) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int online = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const bool bound = sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < online;
  return bound ? std::min(available_threads(), std::max(1, online / processes)) : std::max(1, available_threads() / processes);
}

void set_threads(int count) { omp_set_num_threads(count > 0 ? count : available_threads()); }

int threads() { return omp_get_max_threads(); }

bool threads_are_bound() { return omp_get_proc_bind() != 0; }

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  if (count <= 0) return;
  const int64_t parts = std::min<int64_t>(threads(), std::max<int64_t>(1, count / std::max<int64_t>(1, grain)));
  if (parts == 1 || omp_in_parallel()) {
    work(0, count);
    return;
  }
  Region region{count, parts, &work, {}, nullptr};
  // 0 asks for the default team: libgomp rebuilds its pool whenever the size of a team changes.
  GOMP_parallel(run_part, &region, 0, 0);
  if (region.error) std::rethrow_exception(region.error);
}

}  // namespace seqmill
