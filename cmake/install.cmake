# cmake --install BUILD --prefix PREFIX --component edge: the header, the library, and how to find
# them: find_package(pqrnn) gives the target pqrnn::pqrnn, pkg-config the package pqrnn.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(PQRNN_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/pqrnn")
install(TARGETS pqrnn EXPORT pqrnn DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT edge)
install(FILES "${PROJECT_SOURCE_DIR}/csrc/include/pqrnn/pqrnn.h"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/pqrnn" COMPONENT edge)
install(EXPORT pqrnn NAMESPACE pqrnn:: FILE pqrnn-targets.cmake DESTINATION "${PQRNN_CMAKE_DIR}"
        COMPONENT edge)
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/pqrnn-config.cmake.in" "${PROJECT_BINARY_DIR}/pqrnn-config.cmake"
  INSTALL_DESTINATION "${PQRNN_CMAKE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/pqrnn-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
# A program in C must be told to link the C++ library that pqrnn was compiled with.
set(PQRNN_PKGCONFIG_LIBS "")
foreach(library IN LISTS CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
  if(library MATCHES "^(stdc\\+\\+|c\\+\\+)$")
    string(APPEND PQRNN_PKGCONFIG_LIBS " -l${library}")
  endif()
endforeach()
if(PQRNN_THREADS AND CMAKE_THREAD_LIBS_INIT)
  string(APPEND PQRNN_PKGCONFIG_LIBS " ${CMAKE_THREAD_LIBS_INIT}")
endif()
if(UNIX)
  string(APPEND PQRNN_PKGCONFIG_LIBS " -lm")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/pqrnn.pc.in" "${PROJECT_BINARY_DIR}/pqrnn.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pqrnn-config.cmake"
              "${PROJECT_BINARY_DIR}/pqrnn-config-version.cmake"
        DESTINATION "${PQRNN_CMAKE_DIR}" COMPONENT edge)
install(FILES "${PROJECT_BINARY_DIR}/pqrnn.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
        COMPONENT edge)
