#pragma once

namespace seqmill {

/// From now on the process ends without destructors of statics: threads are left behind that cannot be ended, and that would use what is gone.
void exit_without_clean_up();
bool exits_without_clean_up();

}  // namespace seqmill
