# The Python module _cuda, on request: kernels and bindings in one shared object that needs no CUDA
# library beside the driver, and loads where there is none.

set(PQRNN_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120"
    CACHE STRING "GPU architectures of _cuda, as CMAKE_CUDA_ARCHITECTURES has them")
set(CMAKE_CUDA_ARCHITECTURES "${PQRNN_CUDA_ARCHITECTURES}")
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

set(cuda_folder "${PROJECT_SOURCE_DIR}/csrc/cuda")
set(cuda_sources pool norm attend project product)
foreach(type f32 f64 f16 bf16)
  list(APPEND cuda_sources pool_forward_${type} pool_backward_${type})
endforeach()
list(TRANSFORM cuda_sources REPLACE "(.+)" "${cuda_folder}/\\1.cu")
pybind11_add_module(_cuda src/cuda_module.cpp ${cuda_sources})
target_include_directories(_cuda PRIVATE "${PROJECT_SOURCE_DIR}/csrc")
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)  # a third of the size
  target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
endif()
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
install(TARGETS _cuda DESTINATION pqrnn_native COMPONENT python)
