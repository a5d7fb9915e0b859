# What every target shares: warnings, sanitizers, ccache, a fast linker, and the libraries.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} "${CCACHE}")
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# A build type's usual flags, with assertions of our own kept in release builds.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(hivq_options INTERFACE)
# -Wno-restrict: g++ 12 warns of "text" + std::string at -O3 (its bug 105651).
target_compile_options(hivq_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(HIVQ_WERROR)
  target_compile_options(hivq_options INTERFACE -Werror)
endif()
if(HIVQ_SANITIZE)
  add_compile_options(-fsanitize=${HIVQ_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HIVQ_SANITIZE})
endif()
if(HIVQ_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
target_include_directories(hivq_options INTERFACE "${CMAKE_SOURCE_DIR}")

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(ArrowParquet REQUIRED)  # where the tests find it too
