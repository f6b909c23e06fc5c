# SPDX-License-Identifier: Apache-2.0
# The product: libfulcrum (shared and static), made of the objects of all layers below cli.
set(fulcrum_layers core ops graph moe nets data train judge study)
foreach(suffix shared static)
  string(TOUPPER ${suffix} kind)
  add_library(fulcrum_${suffix} ${kind})
  add_library(fulcrum::${suffix} ALIAS fulcrum_${suffix})
  foreach(layer ${fulcrum_layers})
    target_sources(fulcrum_${suffix} PRIVATE $<TARGET_OBJECTS:ful_${layer}>)
    get_target_property(deps ful_${layer} INTERFACE_LINK_LIBRARIES)
    foreach(dep ${deps})
      if(dep STREQUAL "fulcrum_dnnl") # our own target, unknown where the library is installed
        target_link_libraries(fulcrum_${suffix} PRIVATE $<BUILD_INTERFACE:fulcrum_dnnl> $<INSTALL_INTERFACE:dnnl>)
      elseif(NOT dep MATCHES "^ful_|fulcrum_flags")
        target_link_libraries(fulcrum_${suffix} PRIVATE ${dep})
      endif()
    endforeach()
  endforeach()
  target_include_directories(fulcrum_${suffix} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(fulcrum_${suffix} PROPERTIES OUTPUT_NAME fulcrum VERSION ${PROJECT_VERSION} SOVERSION 0
    EXPORT_NAME ${suffix} LINKER_LANGUAGE C)
endforeach()
if(CMAKE_C_COMPILER_ID STREQUAL GNU) # clang leaves the sanitizers' symbols to the program
  target_link_options(fulcrum_shared PRIVATE -Wl,--no-undefined)
endif()
