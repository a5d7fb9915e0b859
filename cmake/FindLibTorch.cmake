# LibTorch from the PyPI wheel in HIVQ_DEPS_DIR/torch (cmake/setup.sh puts it there).
# The wheel's own TorchConfig.cmake wants a whole CUDA toolkit, so the targets are written here.
#
#   LibTorch::LibTorch       libtorch_cpu and libc10; with HIVQ_CUDA also libtorch_cuda, libc10_cuda, NCCL, NVRTC and the CUDA runtime
#   use_cuda_headers(FILE…)  these sources of the directory see HIVQ_CUDA and the headers of CUDA and NCCL, if it is on:
#                            all others are the same objects with and without CUDA

set(LibTorch_ROOT_DIR "${HIVQ_DEPS_DIR}/torch")
set(_nvidia "${LibTorch_ROOT_DIR}/nvidia")
find_path(LibTorch_INCLUDE_DIR torch/library.h PATHS "${LibTorch_ROOT_DIR}/torch/include" NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS "${LibTorch_ROOT_DIR}/torch/lib" NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 PATHS "${LibTorch_ROOT_DIR}/torch/lib" NO_DEFAULT_PATH)
set(_wanted LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)
if(HIVQ_CUDA)
  find_library(LibTorch_CUDA_LIBRARY torch_cuda PATHS "${LibTorch_ROOT_DIR}/torch/lib" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda PATHS "${LibTorch_ROOT_DIR}/torch/lib" NO_DEFAULT_PATH)
  find_path(LibTorch_CUDA_INCLUDE_DIR cuda_runtime_api.h PATHS "${_nvidia}/cu13/include" NO_DEFAULT_PATH)
  find_path(LibTorch_NCCL_INCLUDE_DIR nccl.h PATHS "${_nvidia}/nccl/include" NO_DEFAULT_PATH)
  # Wheels carry only the versioned names.
  find_file(LibTorch_NCCL_LIBRARY libnccl.so.2 PATHS "${_nvidia}/nccl/lib" NO_DEFAULT_PATH)
  find_file(LibTorch_CUDART_LIBRARY libcudart.so.13 PATHS "${_nvidia}/cu13/lib" NO_DEFAULT_PATH)
  find_file(LibTorch_NVRTC_LIBRARY libnvrtc.so.13 PATHS "${_nvidia}/cu13/lib" NO_DEFAULT_PATH)
  find_file(LibTorch_NVRTC_BUILTINS libnvrtc-builtins.so.13.0 PATHS "${_nvidia}/cu13/lib" NO_DEFAULT_PATH)
  list(APPEND _wanted LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY LibTorch_CUDA_INCLUDE_DIR
       LibTorch_NCCL_INCLUDE_DIR LibTorch_NCCL_LIBRARY LibTorch_CUDART_LIBRARY LibTorch_NVRTC_LIBRARY
       LibTorch_NVRTC_BUILTINS)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS ${_wanted}
  REASON_FAILURE_MESSAGE "run cmake/setup.sh (or make), which puts LibTorch into ${HIVQ_DEPS_DIR}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # -idirafter: torch/include carries its own fmt and protobuf headers, which must not hide the system's.
  target_compile_options(LibTorch::LibTorch INTERFACE
    "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include" "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}")
  target_link_libraries(LibTorch::LibTorch INTERFACE "${LibTorch_CPU_LIBRARY}" "${LibTorch_C10_LIBRARY}")
  file(GLOB _nvidia_lib_dirs "${_nvidia}/*/lib")
  target_link_options(LibTorch::LibTorch INTERFACE "SHELL:-Wl,--allow-shlib-undefined")
  if(HIVQ_CUDA)
    # Nothing refers to torch_cuda by name: it registers its kernels when it is loaded. NVRTC opens its builtins by name,
    # which it finds only where they are loaded already.
    target_link_libraries(LibTorch::LibTorch INTERFACE -Wl,--push-state,--no-as-needed "${LibTorch_CUDA_LIBRARY}"
      "${LibTorch_C10_CUDA_LIBRARY}" "${LibTorch_NVRTC_BUILTINS}" -Wl,--pop-state "${LibTorch_NCCL_LIBRARY}" "${LibTorch_CUDART_LIBRARY}"
      "${LibTorch_NVRTC_LIBRARY}")
  endif()
endif()

function(use_cuda_headers)
  if(HIVQ_CUDA)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_DEFINITIONS HIVQ_CUDA=1
      COMPILE_OPTIONS "-idirafter;${LibTorch_CUDA_INCLUDE_DIR};-idirafter;${LibTorch_NCCL_INCLUDE_DIR}")
  endif()
endfunction()
