#include <catch2/catch.hpp>

#include "support/files.h"
#include "train/lm_task.h"

using namespace seqmill;
using namespace seqmill::test;

TEST_CASE("what training takes at least is held against the memory there is", "[lm-memory]") {
  CHECK(failure_of([] { train::check_training_memory({1000, 0}, true, 19999); }).says("1000 parameters"));
  CHECK_NOTHROW(train::check_training_memory({1000, 0}, false, 16000));
  CHECK(failure_of([] { train::check_training_memory({1000, 0}, false, 15999); }).says("--lora.rank"));
  CHECK(failure_of([] { train::check_training_memory({1000, 0}, true, 19999); }).says("1000 parameters"));
  CHECK_NOTHROW(train::check_training_memory({10, 1000}, false, 4160));
  CHECK(failure_of([] { train::check_training_memory({10, 1000}, false, 4159); }).says("1000 that stay"));
}
