// Dense kernels as obvious loops, accumulating in double: the oracle for every other build.

static constexpr DenseKernels dense_kernels = {};
