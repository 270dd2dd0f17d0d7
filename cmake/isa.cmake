# One object per instruction set, each compiled from its own file with its own flags. These files
# include only csrc/kernels headers, never the STL, so that they emit no shared inline function
# (a weak symbol built with AVX flags could be linked into the baseline path).
#
# kernels/<isa>.cpp is inference, for the target pqrnn; kernels/training_<isa>.cpp is training, for
# the target pqrnn_training where there is one (not for WebAssembly). amx is products of bytes alone; the
# rest of it is avx512vnni.

include(CheckCXXCompilerFlag)

# pqrnn_add_isa(<name> <flag>...): compile the files of an instruction set with the flags.
function(pqrnn_add_isa name)
  set(file "${PROJECT_SOURCE_DIR}/csrc/kernels/${name}.cpp")
  set(training "${PROJECT_SOURCE_DIR}/csrc/kernels/training_${name}.cpp")
  if(NOT (name STREQUAL "generic" OR PQRNN_ISAS STREQUAL "all" OR name IN_LIST PQRNN_ISAS))
    return()
  endif()
  foreach(flag IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "PQRNN_HAS${flag}" has)
    check_cxx_compiler_flag("${flag}" ${has})
    if(NOT ${has})
      message(STATUS "pqrnn: no ${name} kernels, the compiler lacks ${flag}")
      return()
    endif()
  endforeach()
  target_sources(pqrnn PRIVATE "${file}")
  set_property(SOURCE "${file}" "${training}" APPEND PROPERTY COMPILE_OPTIONS ${ARGN})
  string(TOUPPER "PQRNN_WITH_${name}" macro)
  # Dispatch reads it, and nothing else.
  target_compile_definitions(pqrnn PRIVATE ${macro}=1)
  if(TARGET pqrnn_training AND EXISTS "${training}")
    target_sources(pqrnn_training PRIVATE "${training}")
    target_compile_definitions(pqrnn_training PRIVATE ${macro}=1)
  endif()
endfunction()

function(pqrnn_add_all_isas)
  pqrnn_add_isa(reference)
  # "reference" stays honest: no vector code, no contraction.
  if(NOT MSVC)
    set_property(SOURCE "${PROJECT_SOURCE_DIR}/csrc/kernels/reference.cpp"
                        "${PROJECT_SOURCE_DIR}/csrc/kernels/training_reference.cpp" APPEND
                 PROPERTY COMPILE_OPTIONS -fno-tree-vectorize)
  endif()
  pqrnn_add_isa(generic)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    if(MSVC)
      pqrnn_add_isa(avx2 /arch:AVX2)
      pqrnn_add_isa(avx512 /arch:AVX512)
    else()
      set(avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -mpopcnt)
      set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
      pqrnn_add_isa(avx2 ${avx2})
      pqrnn_add_isa(avx512 ${avx512})
      pqrnn_add_isa(avx512vnni ${avx512} -mavx512vnni)
      pqrnn_add_isa(amx ${avx512} -mavx512vnni -mamx-tile -mamx-int8)
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
    if(NOT MSVC)
      set(dotprod -march=armv8.2-a+dotprod)
      if(ZIG)  # spells it in its own way
        set(dotprod -mcpu=generic+dotprod)
      endif()
      pqrnn_add_isa(neon_dotprod ${dotprod})
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "wasm32")
    pqrnn_add_isa(wasm_simd128 -msimd128)
  endif()
endfunction()
