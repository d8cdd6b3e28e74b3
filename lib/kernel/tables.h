#pragma once
// The kernels that are compiled once per instruction set, for those that this CPU has.

#include <vector>

#include "kernel/float_kernels.h"
#include "kernel/integers.h"
#include "kernel/packed.h"
#include "kernel/packed_int8.h"

namespace seqmill::kernel {

/// The best last; never empty.
std::vector<const FloatKernels*> usable_float_kernels();
std::vector<const PackedKernels*> usable_packed_kernels();
std::vector<const Int8Kernels*> usable_int8_kernels();
std::vector<const IntegerKernels<int8_t>*> usable_integer_kernels();
std::vector<const IntegerKernels<int16_t>*> usable_wide_integer_kernels();

}  // namespace seqmill::kernel
