// Recurrence kernels, plain C++ loops, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

#include "kernels/body_recurrence_math.h"
#include "kernels/body_recurrence_random.h"
#include "kernels/body_recurrence_stream.h"
#include "kernels/body_recurrence_scan.h"
#include "kernels/body_recurrence_pool.h"
#include "kernels/body_recurrence_pool_backward.h"
#include "kernels/body_recurrence_norm.h"
#include "kernels/body_recurrence_attend.h"
#include "kernels/body_recurrence_dropout.h"

static constexpr RecurrenceKernels recurrence_kernels = {
    scan_forward,  scan_backward,  pool_forward,    pool_backward, norm_forward,
    norm_backward, attend_forward, attend_backward, dropout};
