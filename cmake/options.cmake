# Compiler options of our libraries.

# pqrnn_compile_options(<target>)
function(pqrnn_compile_options target)
  # -O3 is explicit because GCC 12 vectorises no loop of these kernels at -O2; and none with a choice
  # between floats, as in a gate, while it must keep the exception flags of the side not taken.
  # Sections, so that a program links only what it calls.
  if(NOT MSVC)
    target_compile_options(
      ${target} PRIVATE $<$<CONFIG:Release>:-O3> -Wall -Wextra -fno-math-errno -fno-trapping-math
                        -ffp-contract=off -ffunction-sections -fdata-sections)
  endif()
  if(PQRNN_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${PQRNN_SANITIZE} -fno-omit-frame-pointer
                                            -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${PQRNN_SANITIZE})
  endif()
endfunction()

# pqrnn_small(<source>...): for size, not speed. At -O3 the reading of a configuration alone, which
# happens once, is 80 kB of code.
function(pqrnn_small)
  if(NOT MSVC)
    set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS $<$<CONFIG:Release>:-Os>)
  endif()
endfunction()
