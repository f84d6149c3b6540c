# libpgnear.so and libpgnear.a. Both hold what they use of base and json and show nobody any name
# but pgnear_*: the shared one by a version script, the archive by one relocatable object whose
# other names were made local, so that an application's own buffer_append() does not collide.

find_program(PGNEAR_LD ld REQUIRED)

# pgnear_client_library(NEEDS <component>...)
function(pgnear_client_library)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "NEEDS")
    if(NOT TARGET pgnear_client)
        return()
    endif()
    pgnear_existing_components(components ${arg_NEEDS})

    set(map "${PROJECT_SOURCE_DIR}/cmake/libpgnear.map")
    add_library(libpgnear SHARED $<TARGET_OBJECTS:pgnear_client>)
    target_link_libraries(libpgnear PRIVATE ${components})
    target_link_options(libpgnear PRIVATE "-Wl,--version-script=${map}")
    set_target_properties(libpgnear PROPERTIES OUTPUT_NAME pgnear LINK_DEPENDS "${map}"
                          VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
    install(TARGETS libpgnear LIBRARY COMPONENT libpgnear NAMELINK_COMPONENT libpgnear-dev)

    set(objects "")
    foreach(component IN LISTS components)
        list(APPEND objects "$<TARGET_OBJECTS:${component}>")
    endforeach()
    set(object "${CMAKE_CURRENT_BINARY_DIR}/libpgnear.o")
    set(archive "${CMAKE_ARCHIVE_OUTPUT_DIRECTORY}/libpgnear.a")
    # --force-group-allocation dissolves C++ section groups, whose local names would else be
    # dropped as duplicates when the application has the same templates.
    add_custom_command(
        OUTPUT "${archive}"
        COMMAND ${PGNEAR_LD} -r --force-group-allocation -o "${object}" ${objects}
        COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=pgnear_* "${object}"
        COMMAND ${CMAKE_COMMAND} -E rm -f "${archive}"
        COMMAND ${CMAKE_AR} rcsD "${archive}" "${object}"
        DEPENDS ${components} ${objects}
        COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(libpgnear_archive ALL DEPENDS "${archive}")
    install(FILES "${archive}" DESTINATION ${CMAKE_INSTALL_LIBDIR}
            COMPONENT libpgnear-dev)
endfunction()
