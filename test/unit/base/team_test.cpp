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

TEST_CASE("what the beginning of a member throws is the first caller's", "[team]") {
  std::atomic<int> works{0};
  Team team(2, [] { throw std::runtime_error("not today"); });
  CHECK_THROWS_AS(team.run([&](int64_t) { ++works; }), std::runtime_error);
  CHECK(works == 0);
  Team unused(3);
}

TEST_CASE("a team has a member for each thread unless many would be idle", "[team]") {
  CHECK(team_size(1, 1) == 1);
  CHECK(team_size(0, 4) == 1);
  CHECK(team_size(1, 16) == 1);
  CHECK(team_size(2, 2) == 2);
  CHECK(team_size(4, 2) == 2);
  CHECK(team_size(2, 16) == 1);
  CHECK(team_size(8, 4) == 4);
  CHECK(team_size(3, 2) == 1);    // one of two would be idle half of the time
  CHECK(team_size(7, 2) == 2);    // an eighth of it
  CHECK(team_size(8, 6) == 1);
  CHECK(team_size(100, 7) == 7);
}
