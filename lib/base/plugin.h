#pragma once
// Libraries of ours that are opened when they are first needed.

#include <string>

namespace seqmill {

/// The address of a symbol of a library that lies beside the one this function is part of. `flags` as for dlopen(). The library stays open. Throws
/// Error with `advice` when it cannot be opened, and when it has no such symbol.
void* plugin_symbol(const std::string& library, const char* symbol, int flags, const std::string& advice);

}  // namespace seqmill
