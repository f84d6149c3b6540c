# What `cmake --install` lays down beside the programs and the library. Each file belongs to a
# component, of which cmake/Package.cmake makes packages.

install(FILES include/pgnear.h TYPE INCLUDE COMPONENT libpgnear-dev OPTIONAL)
install(DIRECTORY include/pgnear TYPE INCLUDE COMPONENT libpgnear-dev)
install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/libpgnear-dev"
        COMPONENT libpgnear-dev)

# The pkg-config file finds its prefix from its own place, so that a prefix chosen at install time
# holds.
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH PGNEAR_PC_TO_PREFIX "/prefix/${pkgconfig_dir}" "/prefix")
string(REGEX REPLACE "/$" "" PGNEAR_PC_TO_PREFIX "${PGNEAR_PC_TO_PREFIX}")
# By name and not by Requires.private, which would ask for their headers, and pass their flags on, where
# the shared library is linked.
set(pc_libs ${LMDB_LDFLAGS} ${MSGPACK_LDFLAGS} ${SIMDJSON_LDFLAGS})
list(FILTER pc_libs EXCLUDE REGEX "^-L/usr/lib") # where every linker looks
string(JOIN " " PGNEAR_PC_LIBS_PRIVATE ${pc_libs})
configure_file(packaging/pgnear.pc.in pgnear.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pgnear.pc" DESTINATION "${pkgconfig_dir}"
        COMPONENT libpgnear-dev)

# The unit names the daemon by its full path, which is known when it is installed.
install(CODE "set(daemon_dir \"${CMAKE_INSTALL_BINDIR}\")
set(unit \"${PROJECT_SOURCE_DIR}/packaging/pgneard.service.in\")
set(unit_made \"${PROJECT_BINARY_DIR}/pgneard.service\")" COMPONENT pgnear)
install(CODE [[set(PGNEARD_PATH "${CMAKE_INSTALL_PREFIX}/${daemon_dir}/pgneard")
configure_file("${unit}" "${unit_made}" @ONLY)]] COMPONENT pgnear)
install(FILES "${PROJECT_BINARY_DIR}/pgneard.service" DESTINATION lib/systemd/system
        COMPONENT pgnear)
install(FILES packaging/pgnear.sysusers RENAME pgnear.conf DESTINATION lib/sysusers.d
        COMPONENT pgnear)

# Completion is made by the program itself, from its table of commands.
if(TARGET pgnear)
    set(completion "${PROJECT_BINARY_DIR}/pgnear.bash")
    add_custom_command(OUTPUT "${completion}"
                       COMMAND pgnear --bash-completion > "${completion}"
                       DEPENDS pgnear VERBATIM)
    add_custom_target(pgnear_completion ALL DEPENDS "${completion}")
    install(FILES "${completion}" RENAME pgnear
            DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" COMPONENT pgnear)
endif()

foreach(section 1 3 5 8)
    file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
    set(component pgnear)
    if(section EQUAL 3)
        set(component libpgnear-dev)
    endif()
    if(pages)
        install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}"
                COMPONENT ${component})
    endif()
endforeach()

file(GLOB documents CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/config.example.toml"
     "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/CHANGELOG.md"
     "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/docs/*.md")
install(FILES ${documents} DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/pgnear" COMPONENT pgnear)

# The configuration of a package, under /etc; `cmake --install` to a prefix lays none down.
install(FILES config.example.toml DESTINATION /etc/pgnear RENAME pgneard.toml
        COMPONENT pgnear EXCLUDE_FROM_ALL)
