# The dialect, the warnings, the hardening and the sanitizers, the same for every target.

include(CheckCCompilerFlag)
include(CheckPIESupported)

option(PGNEAR_FAULT_POINTS "Compile the named fault points in, for tests" OFF)
option(PGNEAR_TESTS "Build the tests" ON)
option(PGNEAR_FUZZ "Build the fuzz targets with libFuzzer; needs clang" OFF)
option(PGNEAR_COVERAGE "Record line coverage" OFF)
set(PGNEAR_FUZZ_SECONDS 30 CACHE STRING "How long ctest runs each fuzz target")
set(PGNEAR_SANITIZE "" CACHE STRING "What -fsanitize= is given; empty for none")

set(CMAKE_C_STANDARD 17)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# A release keeps its asserts: NDEBUG is never defined.
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
foreach(language C CXX)
    set(CMAKE_${language}_FLAGS_DEBUG "-Og -g")
    set(CMAKE_${language}_FLAGS_RELEASE "-O2")
    set(CMAKE_${language}_FLAGS_RELWITHDEBINFO "-O2 -g")
endforeach()

add_compile_definitions(_GNU_SOURCE PGNEAR_VERSION="${PROJECT_VERSION}"
                        $<$<BOOL:${PGNEAR_FAULT_POINTS}>:PGNEAR_FAULT_POINTS>)
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Werror)

# A unique symbol of C++ would stay visible in libpgnear.a and keep libpgnear.so from unloading.
add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)

# __FILE__ and the debug information name files from the root of the source, so that a build does
# not depend on where it was made. Coverage needs the true paths.
if(NOT PGNEAR_COVERAGE)
    add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
endif()

# Hardening. The executables are position independent; so are the archives, for libpgnear.so.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
check_pie_supported(LANGUAGES C CXX)
add_compile_options(-fstack-protector-strong)
foreach(flag -fstack-clash-protection -fcf-protection)
    string(MAKE_C_IDENTIFIER "HAVE${flag}" have_flag)
    check_c_compiler_flag(${flag} ${have_flag})
    if(${have_flag})
        add_compile_options(${flag})
    endif()
endforeach()
add_link_options(-Wl,--as-needed -Wl,-z,relro,-z,now,-z,noexecstack)

# Fortified calls hide what the sanitizers watch, so it is one or the other.
if(PGNEAR_SANITIZE)
    add_compile_options(-fsanitize=${PGNEAR_SANITIZE} -fno-sanitize-recover=all
                        -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${PGNEAR_SANITIZE})
    # It asks through a pipe whether an object is there, and takes a process that has no descriptors
    # left for one that has no objects.
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=vptr>)
else()
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()

if(PGNEAR_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "PGNEAR_FUZZ needs clang: cmake --preset fuzz")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(PGNEAR_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()
