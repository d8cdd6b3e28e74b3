#include "kernel/tables.h"

#include "kernel/packed_bf16.h"

namespace seqmill::kernel {

const FloatKernels& float_kernels_generic();
const PackedKernels& packed_kernels_generic();
const Int8Kernels& int8_kernels_generic();
const IntegerKernels<int8_t>& integer_kernels_generic();
const IntegerKernels<int16_t>& wide_integer_kernels_generic();
#if defined(__x86_64__)
const FloatKernels& float_kernels_avx2();
const FloatKernels& float_kernels_avx512();
const PackedKernels& packed_kernels_avx2();
const PackedKernels& packed_kernels_avx512();
const Int8Kernels& int8_kernels_avx2();
const Int8Kernels& int8_kernels_avx512();
const Int8Kernels& int8_kernels_vnni();
const IntegerKernels<int8_t>& integer_kernels_avx2();
const IntegerKernels<int8_t>& integer_kernels_avx512();
const IntegerKernels<int16_t>& wide_integer_kernels_avx2();
const IntegerKernels<int16_t>& wide_integer_kernels_avx512();
#endif

namespace {

#if defined(__x86_64__)

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}

template <typename Table>
std::vector<const Table*> usable(const Table& generic, const Table& (*avx2)(), const Table& (*avx512)()) {
  std::vector<const Table*> tables{&generic};
  if (has_avx2()) tables.push_back(&avx2());
  if (has_avx512()) tables.push_back(&avx512());
  return tables;
}

#endif

}  // namespace

#if defined(__x86_64__)

std::vector<const FloatKernels*> usable_float_kernels() { return usable(float_kernels_generic(), float_kernels_avx2, float_kernels_avx512); }

std::vector<const PackedKernels*> usable_packed_kernels() { return usable(packed_kernels_generic(), packed_kernels_avx2, packed_kernels_avx512); }

std::vector<const Int8Kernels*> usable_int8_kernels() {
  std::vector<const Int8Kernels*> tables = usable(int8_kernels_generic(), int8_kernels_avx2, int8_kernels_avx512);
  if (has_avx512() && __builtin_cpu_supports("avx512vnni")) tables.push_back(&int8_kernels_vnni());
  return tables;
}

std::vector<const IntegerKernels<int8_t>*> usable_integer_kernels() { return usable(integer_kernels_generic(), integer_kernels_avx2, integer_kernels_avx512); }

std::vector<const IntegerKernels<int16_t>*> usable_wide_integer_kernels() {
  return usable(wide_integer_kernels_generic(), wide_integer_kernels_avx2, wide_integer_kernels_avx512);
}

bool has_bfloat16_products() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

#else

std::vector<const FloatKernels*> usable_float_kernels() { return {&float_kernels_generic()}; }
std::vector<const PackedKernels*> usable_packed_kernels() { return {&packed_kernels_generic()}; }
std::vector<const Int8Kernels*> usable_int8_kernels() { return {&int8_kernels_generic()}; }
std::vector<const IntegerKernels<int8_t>*> usable_integer_kernels() { return {&integer_kernels_generic()}; }
std::vector<const IntegerKernels<int16_t>*> usable_wide_integer_kernels() { return {&wide_integer_kernels_generic()}; }
bool has_bfloat16_products() { return false; }

#endif

}  // namespace seqmill::kernel
