// Recurrence kernels, plain C++ loops, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

static constexpr RecurrenceKernels recurrence_kernels = {};
