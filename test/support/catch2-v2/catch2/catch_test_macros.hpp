#pragma once
// Catch2 3 split the one header of version 2, which Debian 12 has: this lets a test include either.
#include <catch2/catch.hpp>
