# SPDX-License-Identifier: Apache-2.0
# The product: libfulcrum (shared and static) made of all layers below cli.
set(fulcrum_layers core ops graph moe nets data train study)
foreach(kind SHARED STATIC)
  string(TOLOWER ${kind} suffix)
  add_library(fulcrum_${suffix} ${kind})
  foreach(layer ${fulcrum_layers})
    target_sources(fulcrum_${suffix} PRIVATE $<TARGET_OBJECTS:ful_${layer}>)
    get_target_property(deps ful_${layer} INTERFACE_LINK_LIBRARIES)
    foreach(dep ${deps})
      if(NOT dep MATCHES "^ful_")
        target_link_libraries(fulcrum_${suffix} PRIVATE ${dep})
      endif()
    endforeach()
  endforeach()
  target_include_directories(fulcrum_${suffix} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(fulcrum_${suffix} PROPERTIES OUTPUT_NAME fulcrum VERSION ${PROJECT_VERSION} SOVERSION 0
    EXPORT_NAME ${suffix} LINKER_LANGUAGE C)
endforeach()
