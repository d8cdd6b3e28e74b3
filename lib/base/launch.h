#pragma once

#include <string>

namespace seqmill {

/// This process's place among those that were started together (mpirun, srun, torchrun and the like).
struct Launch {
  int rank = 0;         ///< 0 .. ranks - 1
  int ranks = 1;
  int local_ranks = 1;  ///< of them on this machine; 1 when unknown
  std::string address;  ///< of rank 0; set when ranks > 1
  int port = 0;         ///< where rank 0 listens
  std::string network;  ///< network interface or host name to be reached at; empty: the one the host name stands for
  std::string source;   ///< who says so, for messages: "mpirun", "srun", "RANK and WORLD_SIZE"
};

}  // namespace seqmill
