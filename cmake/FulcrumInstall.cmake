# SPDX-License-Identifier: Apache-2.0
# What `make install` puts where: program, both libraries, headers, CMake package, fulcrum.pc, man page, licence.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fulcrum)

install(TARGETS fulcrum RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/fulcrum DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES doc/fulcrum.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

# Two export sets: whoever links the shared library needs none of what the static one names.
foreach(suffix shared static)
  install(TARGETS fulcrum_${suffix} EXPORT fulcrum-${suffix}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT fulcrum-${suffix} NAMESPACE fulcrum:: DESTINATION ${package_dir})
endforeach()
configure_package_config_file(cmake/fulcrum-config.cmake.in ${PROJECT_BINARY_DIR}/fulcrum-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fulcrum-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fulcrum-config.cmake ${PROJECT_BINARY_DIR}/fulcrum-config-version.cmake
  DESTINATION ${package_dir})

# fulcrum.pc finds its prefix from where it lies, so that the tree can be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE pc_libdir)
string(REGEX REPLACE "[^/]+" ".." pc_up "${pc_libdir}/pkgconfig")
set(pc_openmp "${OpenMP_C_FLAGS}")
set(pc_curl "")
if(CURL_FOUND)
  set(pc_curl " libcurl")
endif()
configure_file(cmake/fulcrum.pc.in ${PROJECT_BINARY_DIR}/fulcrum.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fulcrum.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
