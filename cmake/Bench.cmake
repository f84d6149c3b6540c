# The programs that bench/run drives, in <build>/bench. Measured is what is installed: they are
# built where PGNEAR_BENCH says so, which the preset release does.

option(PGNEAR_BENCH "Build the programs of bench/" OFF)

# pgnear_bench_program(<name> SOURCES <file of bench/>... USES <target>...)
function(pgnear_bench_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES")
    list(TRANSFORM arg_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/bench/")
    add_executable(${name} ${arg_SOURCES})
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/bench"
                               "${PROJECT_SOURCE_DIR}/include")
    target_link_libraries(${name} PRIVATE ${arg_USES})
    set_target_properties(${name} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
    add_dependencies(bench ${name})
endfunction()

# Target bench is everything that bench/run runs.
function(pgnear_bench_programs)
    add_custom_target(bench)
    add_dependencies(bench pgneard pgnear)
    pgnear_bench_program(bench_echo SOURCES echo.c)
    pgnear_bench_program(bench_load
        SOURCES load/main.c load/plan.c load/run.c load/keys.c load/mix.c load/hdr.c
                load/protocol_pgnear.c load/protocol_text.c
        USES pgnear_base m)
    pgnear_bench_program(bench_direct SOURCES direct.c load/keys.c load/hdr.c
        USES libpgnear pgnear_base PkgConfig::LMDB m)
    pgnear_bench_program(bench_postgres SOURCES postgres.c load/keys.c load/hdr.c
        USES pgnear_base PkgConfig::LIBPQ m)
    pgnear_bench_program(bench_notify SOURCES notify.c load/keys.c load/hdr.c
        USES libpgnear pgnear_base PkgConfig::LIBPQ m)
    pgnear_bench_program(bench_lru SOURCES lru.c load/keys.c USES pgnear_base m)
    pgnear_bench_program(bench_json SOURCES json/main.c json/visit.cpp load/hdr.c
        USES pgnear_json pgnear_base PkgConfig::SIMDJSON)
endfunction()
