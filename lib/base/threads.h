#pragma once
// Threads. There is one pool per process, the OpenMP runtime's, because LibTorch, OpenBLAS and oneDNN use it too: two pools
// of spinning workers on the same cores slow each other down many times over. Threads that compute alone (base/team.h) need none.

#include <cstdint>
#include <functional>

namespace seqmill {

/// Cores this process may use: those of its CPU affinity, fewer under a container's quota, at least 1.
int available_threads();

/// One process's share of the cores when so many run on this machine: of all of them, but no more than this one may use. A process that its
/// launcher has bound to cores of its own has those.
int shared_threads(int processes);

/// The number of threads parallel work of this thread may use from now on; 0 means `available_threads()`.
void set_threads(int count);
int threads();

/// Whether OpenMP binds its threads to cores, as OMP_PROC_BIND asks: then a thread that is not OpenMP's inherits the core of the one that made it.
bool threads_are_bound();

/// Calls `work(begin, end)` on contiguous parts of 0..count-1, at most one part per thread and no part smaller than `grain`
/// (except the last). Parts depend only on count, grain and threads(). The first exception is thrown again after all parts end.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work);

}  // namespace seqmill
