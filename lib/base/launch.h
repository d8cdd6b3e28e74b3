#pragma once

#include <string>

namespace seqmill {

/// This process's place among those that were started together (mpirun, srun and the like).
struct Launch {
  int rank = 0;         ///< 0 .. ranks - 1
  int ranks = 1;
  int local_ranks = 1;  ///< of them on this machine; 1 when unknown
  int local_rank = 0;   ///< and this one's place among those
  std::string address;  ///< of rank 0; set when ranks > 1
  int port = 0;         ///< where rank 0 listens
  std::string network;  ///< network interface to be reached at; empty: the one that the host name stands for
  std::string job;      ///< tells this group from others that may use the same port
  std::string source;   ///< who says so, for messages: "mpirun", "srun", "RANK and WORLD_SIZE"
};

}  // namespace seqmill
