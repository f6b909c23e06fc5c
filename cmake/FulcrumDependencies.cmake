# SPDX-License-Identifier: Apache-2.0
# What we stand on. All of it is in Debian 12 (tools/setup names the packages).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.12)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JPEG REQUIRED IMPORTED_TARGET libjpeg) # libjpeg-turbo's: it can decode part of an image
if(FULCRUM_CURL) # optional: fulcrum data fetch
  pkg_check_modules(CURL IMPORTED_TARGET libcurl>=7.85)
else()
  set(CURL_FOUND FALSE)
endif()
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
if(FULCRUM_EMULATE_AVX512)
  find_path(SIMDE_INCLUDE_DIR simde/x86/avx512.h REQUIRED)
endif()
if(FULCRUM_PARALLEL STREQUAL "openmp")
  find_package(OpenMP REQUIRED COMPONENTS C)
endif()

add_library(fulcrum_dnnl INTERFACE)
target_include_directories(fulcrum_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(fulcrum_dnnl INTERFACE ${DNNL_LIBRARY})
