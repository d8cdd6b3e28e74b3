#include "kernel/integers.h"

#include "kernel/tables.h"

namespace seqmill::kernel {

template <>
const IntegerKernels<int8_t>& integer_kernels<int8_t>() {
  static const IntegerKernels<int8_t>& chosen = *usable_integer_kernels().back();
  return chosen;
}

template <>
const IntegerKernels<int16_t>& integer_kernels<int16_t>() {
  static const IntegerKernels<int16_t>& chosen = *usable_wide_integer_kernels().back();
  return chosen;
}

}  // namespace seqmill::kernel
