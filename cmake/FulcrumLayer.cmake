# SPDX-License-Identifier: Apache-2.0
# Warnings every target of ours is built with.
add_library(fulcrum_flags INTERFACE)
target_compile_options(fulcrum_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wvla -Wundef -Wmissing-prototypes -Wstrict-prototypes
  -Wpointer-arith $<IF:$<C_COMPILER_ID:GNU>,-Wcast-align=strict,-Wcast-align> -Wformat=2 -fno-math-errno -ffp-contract=off)
if(FULCRUM_BUILD_FUZZ) # libFuzzer sees which branches an input took, and the sanitizers judge it
  target_compile_options(fulcrum_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  target_link_options(fulcrum_flags INTERFACE -fsanitize=address,undefined)
endif()
if(FULCRUM_EMULATE_AVX512)
  target_compile_definitions(fulcrum_flags INTERFACE FULCRUM_EMULATE_AVX512)
  target_compile_options(fulcrum_flags INTERFACE -mavx2 -mfma -Wno-psabi)
  target_include_directories(fulcrum_flags SYSTEM INTERFACE ${SIMDE_INCLUDE_DIR})
endif()
target_compile_definitions(fulcrum_flags INTERFACE _GNU_SOURCE FULCRUM_VERSION="${PROJECT_VERSION}")

# fulcrum_layer(NAME SOURCES … DEPENDS …): one room of the house, a static library ful_NAME that tests can link alone.
function(fulcrum_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(ful_${name} STATIC ${arg_SOURCES})
  target_include_directories(ful_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(ful_${name} PRIVATE fulcrum_flags PUBLIC ${arg_DEPENDS})
endfunction()
