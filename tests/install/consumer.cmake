# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(fulcrum ${VERSION} REQUIRED COMPONENTS shared static)
add_executable(consumer_shared ${CONSUMER})
target_link_libraries(consumer_shared PRIVATE fulcrum::fulcrum m)
add_executable(consumer_static ${CONSUMER})
target_link_libraries(consumer_static PRIVATE fulcrum::static m)

# The shared library must do without what only the static one needs.
foreach(name fulcrum::PNG PkgConfig::YAML)
  get_target_property(links fulcrum::shared INTERFACE_LINK_LIBRARIES)
  if("${links}" MATCHES "${name}")
    message(FATAL_ERROR "fulcrum::shared asks for ${name}")
  endif()
endforeach()
