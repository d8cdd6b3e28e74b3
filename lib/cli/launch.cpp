#include "cli/launch.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"

namespace seqmill::cli {
namespace {

/// The variables of one launcher.
struct Launcher {
  const char* name;
  const char *rank, *ranks, *local_rank, *local_ranks;
  const char* job[2];  ///< what tells its jobs on one machine apart
};

// Slurm sets SLURM_NTASKS in the batch script too, where one process runs; SLURM_STEP_NUM_TASKS only for what srun starts.
constexpr Launcher kLaunchers[] = {
    {"RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", {nullptr, nullptr}},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE", {"SLURM_JOB_ID", "SLURM_STEP_ID"}},
    {"MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", {nullptr, nullptr}},
};

constexpr int kFirstPort = 20000, kPorts = 12000;  // below the ports that Linux gives to outgoing connections

class Finder {
 public:
  explicit Finder(const Environment& environment) : environment_(environment) {}

  Launch find() const {
    for (const Launcher& launcher : kLaunchers) {
      if (!environment_(launcher.rank) || !environment_(launcher.ranks)) continue;
      return read(launcher);
    }
    return {};
  }

 private:
  Launch read(const Launcher& launcher) const {
    Launch launch;
    launch.source = launcher.name;
    launch.rank = number(launcher.rank);
    launch.ranks = number(launcher.ranks);
    if (launch.rank < 0 || launch.ranks < 1 || launch.rank >= launch.ranks) {
      fail_usage("{} is {} and {} is {}: ranks go from 0 to one less than their number", launcher.rank, launch.rank, launcher.ranks,
                 launch.ranks);
    }
    if (launch.ranks == 1) return launch;
    // Slurm's value may be a list such as "2(x3),1": the first number is right for all but uneven steps.
    const std::string local = environment_(launcher.local_ranks).value_or("1");
    int64_t count = 1;
    if (parse_int(local.substr(0, local.find_first_of("(,")), count) && count >= 1) launch.local_ranks = static_cast<int>(count);
    if (environment_(launcher.local_rank)) launch.local_rank = number(launcher.local_rank);
    launch.address = address(launch);
    for (const char* name : launcher.job) {
      if (const auto value = name ? environment_(name) : std::nullopt) launch.job += *value + ".";
    }
    launch.port = port(launch);
    launch.network = environment_("GLOO_SOCKET_IFNAME").value_or("");
    return launch;
  }

  int number(const char* name) const {
    const std::string text = *environment_(name);
    int64_t value = 0;
    if (!parse_int(text, value) || value < 0 || value > 1 << 20) fail_usage("{} is '{}', which is no number of processes", name, text);
    return static_cast<int>(value);
  }

  std::string address(const Launch& launch) const {
    if (const auto given = environment_("MASTER_ADDR"); given && !given->empty()) return *given;
    if (launch.local_ranks == launch.ranks) return "127.0.0.1";
    if (const auto nodes = environment_("SLURM_STEP_NODELIST"); nodes && !nodes->empty()) return first_host(*nodes);
    fail_usage("{} ranks on several machines (found by {}): set MASTER_ADDR to the host of rank 0, and MASTER_PORT", launch.ranks,
               launch.source);
  }

  int port(const Launch& launch) const {
    if (const auto given = environment_("MASTER_PORT"); given && !given->empty()) {
      int64_t value = 0;
      if (!parse_int(*given, value) || value < 1 || value > 65535) fail_usage("MASTER_PORT is '{}', which is no port", *given);
      return static_cast<int>(value);
    }
    if (launch.job.empty()) {
      fail_usage("{} ranks (found by {}): set MASTER_PORT to a port that is free on the host of rank 0", launch.ranks, launch.source);
    }
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : launch.job) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return kFirstPort + static_cast<int>(hash % kPorts);
  }

  const Environment& environment_;
};

}  // namespace

int wished_threads(const Environment& environment) {
  const std::string text = environment("OMP_NUM_THREADS").value_or("");
  if (text.empty()) return 0;
  int64_t number = 0;
  if (parse_int(trim(text.substr(0, text.find(','))), number) && number >= 1) return static_cast<int>(std::min<int64_t>(number, 1 << 20));
  log::warn("OMP_NUM_THREADS is '{}', which is no number of threads, and is passed over", text);
  return 0;
}

std::string first_host(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  if (end == std::string::npos || list[end] == ',') return list.substr(0, end);
  const size_t number_end = list.find_first_of("-,]", end);
  if (number_end == std::string::npos) return list;
  const size_t close = list.find(']', end);
  const std::string tail = close == std::string::npos ? "" : list.substr(close + 1, list.find(',', close) - close - 1);
  return list.substr(0, end) + list.substr(end + 1, number_end - end - 1) + tail;
}

Launch find_launch(const Environment& environment) { return Finder(environment).find(); }

}  // namespace seqmill::cli
