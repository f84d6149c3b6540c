# cpack makes three Debian packages of a build:
#
#   pgnear          pgneard, pgnear, the unit, the user, the configuration, the manual
#   libpgnear0      the shared library
#   libpgnear-dev   headers, the static library, pkg-config, examples
#
# The unit's paths are those under /usr, so this is for `cpack`, which installs there, and not for
# `cmake --install` to another prefix.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pgnear)
set(CPACK_PACKAGE_VENDOR "pgnear")
set(PGNEAR_PACKAGE_CONTACT "pgnear maintainers <pgnear@localhost>" CACHE STRING
    "Maintainer of the Debian packages, as \"Name <mail address>\"")
set(CPACK_PACKAGE_CONTACT "${PGNEAR_PACKAGE_CONTACT}")
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "near cache for PostgreSQL")
set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/packaging/deb/finish.cmake")
# The prefix is true while files are laid down in a directory of cpack's, so that the unit names
# /usr/bin/pgneard, and /etc is that of the package.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL pgnear libpgnear libpgnear-dev)
set(CPACK_COMPONENTS_GROUPING IGNORE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}")
set(CPACK_DEBIAN_PGNEAR_PACKAGE_NAME pgnear)
set(CPACK_DEBIAN_PGNEAR_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PGNEAR_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_PGNEAR_PACKAGE_SUGGESTS "postgresql-client")
set(CPACK_DEBIAN_PGNEAR_PACKAGE_CONTROL_EXTRA
    "${PROJECT_SOURCE_DIR}/packaging/deb/conffiles"
    "${PROJECT_SOURCE_DIR}/packaging/deb/postinst"
    "${PROJECT_SOURCE_DIR}/packaging/deb/prerm"
    "${PROJECT_SOURCE_DIR}/packaging/deb/postrm")
set(CPACK_DEBIAN_LIBPGNEAR_PACKAGE_NAME "libpgnear${PROJECT_VERSION_MAJOR}")
set(CPACK_DEBIAN_LIBPGNEAR_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_LIBPGNEAR_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/packaging/deb/triggers")
set(CPACK_DEBIAN_LIBPGNEAR-DEV_PACKAGE_NAME libpgnear-dev)
set(CPACK_DEBIAN_LIBPGNEAR-DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBPGNEAR-DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_LIBPGNEAR-DEV_PACKAGE_DEPENDS
    "libpgnear${PROJECT_VERSION_MAJOR} (= ${PROJECT_VERSION}), liblmdb-dev, libmsgpack-dev, libsimdjson-dev")
set(CPACK_COMPONENT_PGNEAR_DESCRIPTION
    "The daemon pgneard keeps the keys that this machine reads in a local map,\ntakes writes into a durable outbox, and keeps both in step with a JSONB\ntable in PostgreSQL. The command pgnear asks it.")
set(CPACK_COMPONENT_LIBPGNEAR_DESCRIPTION
    "The client library of pgneard, the near cache for PostgreSQL: it reads\nstraight from the map of the daemon on the same machine.")
set(CPACK_COMPONENT_LIBPGNEAR-DEV_DESCRIPTION
    "Headers, the static library and examples of the client library of\npgneard, the near cache for PostgreSQL.")
include(CPack)
