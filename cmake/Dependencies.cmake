# The libraries, all from Debian 12: scripts/packages lists the packages.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBPQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET libssl)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb)
pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent_core)
pkg_check_modules(LIBEVENT_PTHREADS REQUIRED IMPORTED_TARGET libevent_pthreads)
pkg_check_modules(MSGPACK REQUIRED IMPORTED_TARGET msgpack)
pkg_check_modules(SIMDJSON REQUIRED IMPORTED_TARGET simdjson)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
# Compiled in: nothing is linked.
pkg_check_modules(XXHASH REQUIRED libxxhash)
# For sd_notify; the daemon does without.
pkg_check_modules(LIBSYSTEMD IMPORTED_TARGET libsystemd)
set(PGNEAR_SUPERVISOR "")
if(LIBSYSTEMD_FOUND)
    add_compile_definitions(PGNEAR_SYSTEMD)
    set(PGNEAR_SUPERVISOR PkgConfig::LIBSYSTEMD)
endif()
if(PGNEAR_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

# uthash is headers only and has no pkg-config file.
include(CheckIncludeFile)
check_include_file(uthash.h HAVE_UTHASH_H)
if(NOT HAVE_UTHASH_H)
    message(FATAL_ERROR "uthash.h is missing: run scripts/install-dependencies")
endif()
