# Components and programs: every directory of src/ is a static library, and its link edges are the
# includes it may have.

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")

# The component targets of `names` that exist: a directory without sources has none.
function(pgnear_existing_components result)
    set(targets "")
    foreach(name IN LISTS ARGN)
        if(TARGET pgnear_${name})
            list(APPEND targets pgnear_${name})
        endif()
    endforeach()
    set(${result} "${targets}" PARENT_SCOPE)
endfunction()

# pgnear_component(<directory of src/> [NEEDS <component>...] [USES <library target>...])
# makes pgnear_<directory>. A main.c is a program's, not the component's.
function(pgnear_component name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "NEEDS;USES")
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.c"
         "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp")
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    if(NOT sources)
        return()
    endif()
    add_library(pgnear_${name} STATIC ${sources})
    target_include_directories(pgnear_${name} PUBLIC "${PROJECT_SOURCE_DIR}/src"
                               "${PROJECT_SOURCE_DIR}/include")
    pgnear_existing_components(components ${arg_NEEDS})
    target_link_libraries(pgnear_${name} PUBLIC ${components} ${arg_USES})
endfunction()

# Programs that others run, not users, and how the ones of the users find them.
set(PGNEAR_LIBEXEC_DIR "${CMAKE_INSTALL_LIBEXECDIR}/pgnear")
file(RELATIVE_PATH PGNEAR_BIN_TO_LIBEXEC "/prefix/${CMAKE_INSTALL_BINDIR}"
     "/prefix/${PGNEAR_LIBEXEC_DIR}")

# pgnear_program(<name> <main source> NEEDS <component>... [DESTINATION <where it is installed>])
function(pgnear_program name main)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "DESTINATION" "NEEDS")
    file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${main}")
    if(NOT found)
        return()
    endif()
    add_executable(${name} "${main}")
    pgnear_existing_components(components ${arg_NEEDS})
    target_link_libraries(${name} PRIVATE ${components})
    # A program loads what it uses, not all that its components could.
    target_link_options(${name} PRIVATE LINKER:--as-needed)
    if(arg_DESTINATION)
        install(TARGETS ${name} DESTINATION "${arg_DESTINATION}" COMPONENT pgnear)
    else()
        install(TARGETS ${name} COMPONENT pgnear)
    endif()
endfunction()
