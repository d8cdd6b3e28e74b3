#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/launch.h"

namespace seqmill::cli {

/// A variable's value, or nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The place of this process, from the first of these that is there: RANK and WORLD_SIZE (with LOCAL_RANK and LOCAL_WORLD_SIZE), Open MPI's,
/// Slurm's (only inside srun, not in the batch script around it), MPICH's variables. MASTER_ADDR and MASTER_PORT say where rank 0 listens; without them
/// the address is this machine when all ranks are on it, or the first node of a Slurm step, and the port follows from the job's number, which only Open MPI
/// and Slurm tell.
/// GLOO_SOCKET_IFNAME chooses the network. Throws a usage error for values that contradict each other or an address that is missing.
Launch find_launch(const Environment& environment);

/// The threads that OMP_NUM_THREADS asks for: its first number, those after a comma being for nested regions; 0 when it is not set. What is no
/// number is passed over with a warning.
int wished_threads(const Environment& environment);

/// The first host of a Slurm list such as "node[003-007,12],other".
std::string first_host(const std::string& list);

}  // namespace seqmill::cli
