# Apache Arrow's C++ libraries with Parquet, from the PyPI wheel in HIVQ_DEPS_DIR/arrow (cmake/setup.sh puts it there):
# neither Debian 12 nor Ubuntu 24.04 has them.
#
#   ArrowParquet::ArrowParquet   libparquet and libarrow

set(_wheel "${HIVQ_DEPS_DIR}/arrow/pyarrow")
find_path(ArrowParquet_INCLUDE_DIR parquet/arrow/writer.h PATHS "${_wheel}/include" NO_DEFAULT_PATH)
# A wheel carries only the versioned names.
file(GLOB ArrowParquet_LIBRARY "${_wheel}/libparquet.so.*")
file(GLOB ArrowParquet_ARROW_LIBRARY "${_wheel}/libarrow.so.*")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ArrowParquet
  REQUIRED_VARS ArrowParquet_INCLUDE_DIR ArrowParquet_LIBRARY ArrowParquet_ARROW_LIBRARY
  REASON_FAILURE_MESSAGE "run cmake/setup.sh (or make), which puts Apache Arrow into ${HIVQ_DEPS_DIR}")

if(ArrowParquet_FOUND AND NOT TARGET ArrowParquet::ArrowParquet)
  add_library(ArrowParquet::ArrowParquet INTERFACE IMPORTED)
  target_include_directories(ArrowParquet::ArrowParquet SYSTEM INTERFACE "${ArrowParquet_INCLUDE_DIR}")
  target_link_libraries(ArrowParquet::ArrowParquet INTERFACE "${ArrowParquet_LIBRARY}" "${ArrowParquet_ARROW_LIBRARY}")
endif()
