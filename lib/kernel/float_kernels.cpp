#include "kernel/float_kernels.h"

#include "base/version.h"
#include "kernel/tables.h"

namespace seqmill::kernel {
namespace {

const bool version_line = (add_version_line("kernels", float_kernels().instruction_set), true);

}  // namespace

const FloatKernels& float_kernels() {
  static const FloatKernels& chosen = *usable_float_kernels().back();
  return chosen;
}

}  // namespace seqmill::kernel
