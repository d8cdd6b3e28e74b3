#include "base/team.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <set>
#include <stdexcept>
#include <string>

using namespace seqmill;

TEST_CASE("every member of a team works, in the same thread each time", "[team]") {
  for (const int64_t size : {1, 2, 5}) {
    CAPTURE(size);
    std::atomic<int> begun{0};
    Team team(size, [&] { ++begun; });
    std::vector<std::thread::id> first(static_cast<size_t>(size)), second = first;
    team.run([&](int64_t member) { first[static_cast<size_t>(member)] = std::this_thread::get_id(); });
    team.run([&](int64_t member) { second[static_cast<size_t>(member)] = std::this_thread::get_id(); });
    CHECK(first == second);
    CHECK(std::set<std::thread::id>(first.begin(), first.end()).size() == static_cast<size_t>(size));
    CHECK((first[0] == std::this_thread::get_id()) == (size == 1));
    CHECK(begun == (size == 1 ? 0 : size));
  }
}

TEST_CASE("members work at the same time", "[team]") {
  Team team(3);
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> there{0};
    team.run([&](int64_t) {
      ++there;
      while (there < 3) std::this_thread::yield();  // for ever, if one waited for another
    });
    CHECK(there == 3);
  }
}

TEST_CASE("the first failure of a team by the number of the member is the caller's, after all have ended", "[team]") {
  Team team(4);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> ended{0};
    std::string what;
    try {
      team.run([&](int64_t member) {
        ++ended;
        if (member % 2 == 1) throw std::runtime_error(std::to_string(member));
      });
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    CHECK(what == "1");
    CHECK(ended == 4);
  }
  int64_t calls = 0;
  team.run([&](int64_t member) { calls += member == 2; });  // it goes on
  CHECK(calls == 1);
}

TEST_CASE("a team is as large as is fastest", "[team]") {
  CHECK(best_team(1, 1) == 1);
  CHECK(best_team(1, 16) == 1);
  CHECK(best_team(2, 2) == 2);
  CHECK(best_team(4, 2) == 2);
  CHECK(best_team(2, 16) == 2);   // of eight threads each
  CHECK(best_team(8, 4) == 4);
  CHECK(best_team(3, 2) == 1);    // rather than one of three parts for one and two for the other
  CHECK(best_team(15, 2) == 2);   // eight turns of one thread beat fifteen of two
  CHECK(best_team(8, 6) == 2);    // four turns of three threads
  CHECK(best_team(100, 7) == 7);
}
