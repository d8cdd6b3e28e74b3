#include "cli/launch.h"

#include <catch2/catch.hpp>
#include <map>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::cli;
using namespace seqmill::test;

namespace {

Launch launch_of(std::map<std::string, std::string> variables) {
  return find_launch([variables = std::move(variables)](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

}  // namespace

TEST_CASE("a process started alone is alone", "[launch]") {
  const Launch launch = launch_of({{"MASTER_ADDR", "there"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}});
  CHECK((launch.rank == 0 && launch.ranks == 1 && launch.local_ranks == 1));
  CHECK(launch_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).ranks == 1);  // and needs no address
}

TEST_CASE("each launcher's variables", "[launch]") {
  const Launch torchrun = launch_of({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_WORLD_SIZE", "4"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}});
  CHECK((torchrun.rank == 3 && torchrun.ranks == 8 && torchrun.local_ranks == 4));
  CHECK((torchrun.address == "h" && torchrun.port == 29500));
  const Launch mpirun = launch_of({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"PMIX_NAMESPACE", "77"}});
  CHECK((mpirun.rank == 1 && mpirun.ranks == 2 && mpirun.local_ranks == 2));
  CHECK(mpirun.address == "127.0.0.1");
  CHECK((mpirun.port >= 20000 && mpirun.port < 32000));
  CHECK(mpirun.source == "mpirun");
  const std::map<std::string, std::string> step{{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "6"}, {"SLURM_STEP_TASKS_PER_NODE", "2(x3)"},
                                                {"SLURM_STEP_NODELIST", "node[07-09]"}, {"SLURM_JOB_ID", "12"}, {"SLURM_STEP_ID", "0"},
                                                {"GLOO_SOCKET_IFNAME", "ib0"}};
  const Launch srun = launch_of(step);
  CHECK((srun.rank == 5 && srun.ranks == 6 && srun.local_ranks == 2));
  CHECK((srun.address == "node07" && srun.network == "ib0"));
  auto later = step;
  later["SLURM_STEP_ID"] = "1";
  CHECK(launch_of(later).port != srun.port);
  later["RANK"] = "0";
  later["WORLD_SIZE"] = "1";
  CHECK(launch_of(later).ranks == 1);  // said by hand
  CHECK(launch_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "2"}, {"MASTER_PORT", "5000"}}).source == "MPI");
}

TEST_CASE("what does not add up is a usage error", "[launch]") {
  const auto wrong = [](std::map<std::string, std::string> variables) { return failure_of([&] { launch_of(variables); }); };
  CHECK(wrong({{"RANK", "2"}, {"WORLD_SIZE", "2"}}).exit_code == kExitUsage);
  CHECK(wrong({{"RANK", "-1"}, {"WORLD_SIZE", "2"}}).says("RANK is '-1'"));
  CHECK(wrong({{"RANK", "x"}, {"WORLD_SIZE", "2"}}).says("RANK is 'x'"));
  CHECK(wrong({{"RANK", "0"}, {"WORLD_SIZE", "0"}}).exit_code == kExitUsage);
  CHECK(wrong({{"RANK", "0"}, {"WORLD_SIZE", "2"}}).says("set MASTER_ADDR"));
  CHECK(wrong({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}}).says("set MASTER_PORT"));
  CHECK(wrong({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}).says("MASTER_PORT is '70000'"));
}

TEST_CASE("OMP_NUM_THREADS is read or passed over", "[launch]") {
  const auto of = [](std::optional<std::string> value) {
    return wished_threads([&](const std::string& name) { return name == "OMP_NUM_THREADS" ? value : std::nullopt; });
  };
  CHECK(of(std::nullopt) == 0);
  CHECK(of("") == 0);
  CHECK(of("3") == 3);
  CHECK(of(" 4 , 2") == 4);
  for (const char* none : {"many", "0", "-3", "4abc", ",2", "1e3", "99999999999999999999"}) {
    CAPTURE(none);
    CHECK(of(none) == 0);
  }
}

TEST_CASE("the first host of a Slurm list", "[launch]") {
  CHECK(first_host("node") == "node");
  CHECK(first_host("node3,node4") == "node3");
  CHECK(first_host("node[003-007,12],other") == "node003");
  CHECK(first_host("a[2,4]") == "a2");
  CHECK(first_host("a[9]b-c,d") == "a9b-c");
  CHECK(first_host("rack1,a[1-2]") == "rack1");
}
