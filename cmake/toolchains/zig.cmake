# Cross-compiling with zig, which is a C and C++ compiler with the libraries of many platforms:
# python -m pip install ziglang. Set ZIG_TARGET and include this from a toolchain file.

if(NOT ZIG)
  find_program(PQRNN_PYTHON3 NAMES python3 python REQUIRED)
  execute_process(
    COMMAND "${PQRNN_PYTHON3}" -c
            "import ziglang, pathlib; print(pathlib.Path(ziglang.__file__).parent / 'zig', end='')"
    OUTPUT_VARIABLE ZIG COMMAND_ERROR_IS_FATAL ANY)
  set(ZIG "${ZIG}" CACHE FILEPATH "The zig program")
endif()

set(CMAKE_C_COMPILER "${ZIG}" cc -target ${ZIG_TARGET})
set(CMAKE_CXX_COMPILER "${ZIG}" c++ -target ${ZIG_TARGET})
# CMAKE_AR must be one program, without arguments.
foreach(language C CXX)
  set(CMAKE_${language}_ARCHIVE_CREATE "\"${ZIG}\" ar qc <TARGET> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_APPEND "\"${ZIG}\" ar q <TARGET> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_FINISH "\"${ZIG}\" ranlib <TARGET>")
endforeach()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
