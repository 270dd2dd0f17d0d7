# One object per instruction set, each compiled from its own file with its own flags. These files
# include only csrc/kernels headers, never the STL, so that they emit no shared inline function
# (a weak symbol built with AVX flags could be linked into the baseline path).

include(CheckCXXCompilerFlag)

# pqrnn_add_isa(<target> <name> <flag>...): compile csrc/kernels/<name>.cpp with the flags.
function(pqrnn_add_isa target name)
  set(file "${PROJECT_SOURCE_DIR}/csrc/kernels/${name}.cpp")
  foreach(flag IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "PQRNN_HAS${flag}" has)
    check_cxx_compiler_flag("${flag}" ${has})
    if(NOT ${has})
      message(STATUS "pqrnn: no ${name} kernels, the compiler lacks ${flag}")
      return()
    endif()
  endforeach()
  target_sources(${target} PRIVATE "${file}")
  set_property(SOURCE "${file}" APPEND PROPERTY COMPILE_OPTIONS ${ARGN})
  string(TOUPPER "PQRNN_WITH_${name}" macro)
  target_compile_definitions(${target} PUBLIC ${macro}=1)
endfunction()

function(pqrnn_add_all_isas target)
  pqrnn_add_isa(${target} reference)
  # "reference" stays honest: no vector code, no contraction.
  if(NOT MSVC)
    set_property(SOURCE "${PROJECT_SOURCE_DIR}/csrc/kernels/reference.cpp" APPEND
                 PROPERTY COMPILE_OPTIONS -fno-tree-vectorize)
  endif()
  pqrnn_add_isa(${target} generic)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    if(MSVC)
      pqrnn_add_isa(${target} avx2 /arch:AVX2)
      pqrnn_add_isa(${target} avx512 /arch:AVX512)
    else()
      set(avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -mpopcnt)
      set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
      pqrnn_add_isa(${target} avx2 ${avx2})
      pqrnn_add_isa(${target} avx512 ${avx512})
      pqrnn_add_isa(${target} avx512vnni ${avx512} -mavx512vnni)
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
    if(NOT MSVC)
      pqrnn_add_isa(${target} neon_dotprod -march=armv8.2-a+dotprod)
    endif()
  endif()
endfunction()
