# Every file in the right place becomes a test with the file's name:
#
#   tests/unit/<dir>/<name>_test.c    unit.<dir>.<name>    cmocka, the component <dir> alone
#   tests/simulation/<name>_test.c    simulation.<name>    cmocka, the daemon in a made world
#   tests/system/<name>_test.c        system.<name>        cmocka, harness, real programs
#   tests/fuzz/<name>_fuzz.c          fuzz.<name>          replays tests/fuzz/corpus/<name>
#
# Files that are named fault* need the fault points, and are left out where these are.
#
# The label of a test is its first word. Each test owns its servers and directories, so any number
# of them may run at once.

# pgnear_sources(<result> <pattern>): those files of the source tree that this build can do with.
function(pgnear_sources result pattern)
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${pattern}")
    if(NOT PGNEAR_FAULT_POINTS)
        list(FILTER sources EXCLUDE REGEX "/fault[^/]*$")
    endif()
    set(${result} "${sources}" PARENT_SCOPE)
endfunction()

set(PGNEAR_ALL_COMPONENTS base json config cachefile cache pg server client cli)

# Each applies where the binary has that sanitizer. A race ends the process at once, since a daemon
# that a test kills would never come to report it at its exit. Freed memory that the address
# sanitizer holds back counts where a test looks at a daemon's size, so it is kept small.
set(suppressions "${PROJECT_SOURCE_DIR}/tests/tsan.supp")
set(PGNEAR_TEST_ENVIRONMENT
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=32"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:history_size=7:second_deadlock_stack=1:suppressions=${suppressions}")

function(pgnear_add_test target name label timeout_s)
    add_test(NAME ${name} COMMAND ${target} ${ARGN})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${timeout_s}
                         ENVIRONMENT "${PGNEAR_TEST_ENVIRONMENT}")
endfunction()

# The test finds files of the source tree under PGNEAR_SOURCE_DIR.
function(pgnear_test_executable target source)
    add_executable(${target} "${source}")
    target_link_libraries(${target} PRIVATE ${ARGN})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    target_compile_definitions(${target} PRIVATE PGNEAR_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    set_target_properties(${target} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
endfunction()

# The file's name without its ending: "buffer" of .../buffer_test.c.
function(pgnear_test_name result source ending)
    cmake_path(GET source FILENAME name)
    string(REGEX REPLACE "${ending}$" "" name "${name}")
    set(${result} "${name}" PARENT_SCOPE)
endfunction()

# pgnear_unit_tests(TIMEOUT_S <seconds>)
# A test is linked with its component and what that NEEDS, so that it can need no more, and with the
# sources of a directory of its name, if there is one; those may use the system tests' random numbers.
function(pgnear_unit_tests)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "TIMEOUT_S" "")
    pgnear_sources(sources "tests/unit/*/*_test.c")
    foreach(source IN LISTS sources)
        cmake_path(GET source PARENT_PATH directory)
        cmake_path(GET directory FILENAME directory)
        pgnear_test_name(name "${source}" "_test\\.c")
        set(target unit_${directory}_${name}_test)
        pgnear_test_executable(${target} "${source}" pgnear_${directory} PkgConfig::CMOCKA)
        pgnear_sources(own "tests/unit/${directory}/${name}/*.c")
        if(own)
            target_sources(${target} PRIVATE ${own}
                           "${PROJECT_SOURCE_DIR}/tests/system/harness/random.c")
        endif()
        pgnear_add_test(${target} unit.${directory}.${name} unit ${arg_TIMEOUT_S})
    endforeach()
endfunction()

# pgnear_examples()
# The programs under examples/, against the shared library as users have it.
function(pgnear_examples)
    if(NOT TARGET libpgnear)
        return()
    endif()
    add_custom_target(examples)
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/*.c")
    foreach(source IN LISTS sources)
        pgnear_test_name(name "${source}" "\\.c")
        add_executable(example_${name} "${source}")
        target_link_libraries(example_${name} PRIVATE libpgnear)
        target_include_directories(example_${name} PRIVATE "${PROJECT_SOURCE_DIR}/include")
        if(name MATCHES "libevent")
            target_link_libraries(example_${name} PRIVATE PkgConfig::LIBEVENT)
        endif()
        set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name}
                              RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
        add_dependencies(examples example_${name})
    endforeach()
endfunction()

# pgnear_simulation_tests(TIMEOUT_S <seconds>)
# The files of tests/simulation/world stand in for base/clock.c, base/check.c, pg/conn.c and
# libevent: what they define is not taken from the components. Wrapped functions are theirs as well.
function(pgnear_simulation_tests)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "TIMEOUT_S" "")
    pgnear_existing_components(components base json cache pg server)
    file(GLOB world CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/simulation/world/*.c")
    add_library(pgnear_world OBJECT ${world})
    target_include_directories(pgnear_world PUBLIC "${PROJECT_SOURCE_DIR}/tests")
    target_link_libraries(pgnear_world PUBLIC ${components} PkgConfig::LIBPQ PkgConfig::LMDB
                          PkgConfig::CMOCKA m)
    foreach(wrapped mdb_txn_commit directory_random_uuid environment_is_sound outbox_retire
            outbox_log_write outbox_ring_add)
        target_link_options(pgnear_world PUBLIC "-Wl,--wrap=${wrapped}")
    endforeach()
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/simulation/*_test.c")
    foreach(source IN LISTS sources)
        pgnear_test_name(name "${source}" "_test\\.c")
        set(target simulation_${name}_test)
        pgnear_test_executable(${target} "${source}" pgnear_world)
        pgnear_add_test(${target} simulation.${name} simulation ${arg_TIMEOUT_S})
    endforeach()
endfunction()

# Deliberate bugs, each of which the simulator must find; see scripts/check-mutations. It takes some
# ten minutes, so it is run where asked for: ctest -C mutation -L mutation.
function(pgnear_mutation_test)
    if(NOT CMAKE_GENERATOR STREQUAL "Ninja" OR PGNEAR_SANITIZE OR PGNEAR_COVERAGE)
        return()
    endif()
    add_test(NAME mutation.simulation CONFIGURATIONS mutation
             COMMAND "${PROJECT_SOURCE_DIR}/scripts/check-mutations")
    set_tests_properties(mutation.simulation PROPERTIES LABELS mutation TIMEOUT 1800
                         ENVIRONMENT "PGNEAR_BUILD=${PROJECT_BINARY_DIR}")
endfunction()

# The models of docs/model, searched by spin.
function(pgnear_model_test)
    if(PGNEAR_SANITIZE OR PGNEAR_COVERAGE)
        return()
    endif()
    add_test(NAME model.search COMMAND "${PROJECT_SOURCE_DIR}/scripts/check-model")
    set_tests_properties(model.search PROPERTIES LABELS model TIMEOUT 900)
endfunction()

# pgnear_system_tests(TIMEOUT_S <seconds>)
# The tests learn where the programs are from PGNEARD_PROGRAM and PGNEAR_PROGRAM. Those that one
# ctest runs use the data directories of PostgreSQL one after another; the last thing it does is to
# remove them.
function(pgnear_system_tests)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "TIMEOUT_S" "")
    pgnear_existing_components(components base json cachefile pg client)
    pgnear_sources(harness "tests/system/harness/*.c")
    if(harness)
        add_library(pgnear_harness STATIC ${harness})
        target_include_directories(pgnear_harness PUBLIC "${PROJECT_SOURCE_DIR}/tests")
        target_compile_definitions(pgnear_harness PUBLIC
            PGNEAR_EXAMPLES="${PROJECT_BINARY_DIR}/examples"
            PGNEARD_PROGRAM="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/pgneard"
            PGNEAR_PROGRAM="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/pgnear")
        target_link_libraries(pgnear_harness PUBLIC ${components} PkgConfig::LIBPQ
                              PkgConfig::CMOCKA)
    endif()
    string(MD5 build "${PROJECT_BINARY_DIR}")
    string(SUBSTRING "${build}" 0 8 build)
    set(pool "pgnear-pool-${build}")
    pgnear_existing_components(harness_component harness pg)
    pgnear_sources(sources "tests/system/*_test.c")
    foreach(source IN LISTS sources)
        pgnear_test_name(name "${source}" "_test\\.c")
        set(target system_${name}_test)
        pgnear_test_executable(${target} "${source}" ${harness_component})
        foreach(program pgneard pgnear)
            if(TARGET ${program})
                add_dependencies(${target} ${program})
            endif()
        endforeach()
        pgnear_add_test(${target} system.${name} system ${arg_TIMEOUT_S})
        set_property(TEST system.${name} APPEND PROPERTY ENVIRONMENT "PGNEAR_TEST_POOL=${pool}")
        set_tests_properties(system.${name} PROPERTIES FIXTURES_REQUIRED pool)
    endforeach()
    if(TARGET examples AND TARGET system_examples_test)
        add_dependencies(system_examples_test examples)
    endif()
    add_test(NAME system_pool.removed
             COMMAND "${PROJECT_SOURCE_DIR}/tests/system/remove-pool" ${pool})
    set_tests_properties(system_pool.removed PROPERTIES FIXTURES_CLEANUP pool LABELS system)
endfunction()

# pgnear_fuzz_tests(TIMEOUT_S <seconds>)
# The same file is a libFuzzer target in the fuzz preset, and in all others a replay of its corpus.
function(pgnear_fuzz_tests)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "TIMEOUT_S" "")
    pgnear_existing_components(components ${PGNEAR_ALL_COMPONENTS})
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*_fuzz.c")
    foreach(source IN LISTS sources)
        pgnear_test_name(name "${source}" "_fuzz\\.c")
        set(target ${name}_fuzz)
        set(corpus "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
        pgnear_test_executable(${target} "${source}" ${components})
        if(PGNEAR_FUZZ)
            # libFuzzer writes what it finds into the first directory and reads both.
            set(found "${PROJECT_BINARY_DIR}/corpus/${name}")
            file(MAKE_DIRECTORY "${found}")
            target_link_options(${target} PRIVATE -fsanitize=fuzzer)
            pgnear_add_test(${target} fuzz.${name} fuzz ${arg_TIMEOUT_S}
                            -max_total_time=${PGNEAR_FUZZ_SECONDS} -timeout=10
                            -artifact_prefix=${found}- "${found}" "${corpus}")
        else()
            target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.c")
            pgnear_add_test(${target} fuzz.${name} fuzz ${arg_TIMEOUT_S} "${corpus}")
        endif()
    endforeach()
endfunction()

# Installs to a directory of its own and builds a program against what lies there.
function(pgnear_package_test)
    if(NOT TARGET libpgnear OR NOT TARGET pgneard OR NOT TARGET pgnear
       OR PGNEAR_SANITIZE OR PGNEAR_COVERAGE)
        return()
    endif()
    add_test(NAME package.install COMMAND "${PROJECT_SOURCE_DIR}/packaging/check-install"
             "${CMAKE_COMMAND}" "${PROJECT_BINARY_DIR}" "${CMAKE_C_COMPILER}")
    add_test(NAME package.deb COMMAND "${PROJECT_SOURCE_DIR}/packaging/check-deb"
             "${CMAKE_CPACK_COMMAND}" "${PROJECT_BINARY_DIR}")
    if(NOT PGNEAR_FAULT_POINTS)
        pgnear_add_test("${PROJECT_SOURCE_DIR}/scripts/check-release" package.release package 60
                        "${PROJECT_BINARY_DIR}")
    endif()
    set_tests_properties(package.install package.deb PROPERTIES
                         LABELS package TIMEOUT 240 RESOURCE_LOCK install)
endfunction()
