// Expand kernels as obvious loops, accumulating in double: the oracle for every other build.

static constexpr ExpandKernels expand_kernels = {};
