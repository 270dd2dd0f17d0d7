// Recurrence kernels as obvious loops, accumulating in double: the oracle for every other build.

static constexpr RecurrenceKernels recurrence_kernels = {};
