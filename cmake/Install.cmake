# What `cmake --install` lays down beside the programs and the library.

install(FILES include/pgnear.h TYPE INCLUDE OPTIONAL)
install(DIRECTORY include/pgnear TYPE INCLUDE)

# The pkg-config file finds its prefix from its own place, so that a prefix chosen at install time
# holds.
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH PGNEAR_PC_TO_PREFIX "/prefix/${pkgconfig_dir}" "/prefix")
string(REGEX REPLACE "/$" "" PGNEAR_PC_TO_PREFIX "${PGNEAR_PC_TO_PREFIX}")
configure_file(packaging/pgnear.pc.in pgnear.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pgnear.pc" DESTINATION "${pkgconfig_dir}")

# The unit names the daemon by its full path, which is known when it is installed.
install(CODE "set(daemon_dir \"${CMAKE_INSTALL_BINDIR}\")
set(unit \"${PROJECT_SOURCE_DIR}/packaging/pgneard.service.in\")
set(unit_made \"${PROJECT_BINARY_DIR}/pgneard.service\")")
install(CODE [[set(PGNEARD_PATH "${CMAKE_INSTALL_PREFIX}/${daemon_dir}/pgneard")
configure_file("${unit}" "${unit_made}" @ONLY)]])
install(FILES "${PROJECT_BINARY_DIR}/pgneard.service" DESTINATION lib/systemd/system)
install(FILES packaging/pgnear.sysusers RENAME pgnear.conf DESTINATION lib/sysusers.d)

# Completion is made by the program itself, from its table of commands.
if(TARGET pgnear)
    set(completion "${PROJECT_BINARY_DIR}/pgnear.bash")
    add_custom_command(OUTPUT "${completion}"
                       COMMAND pgnear --bash-completion > "${completion}"
                       DEPENDS pgnear VERBATIM)
    add_custom_target(pgnear_completion ALL DEPENDS "${completion}")
    install(FILES "${completion}" RENAME pgnear
            DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions")
endif()

foreach(section 1 3 5 8)
    file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
    if(pages)
        install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
    endif()
endforeach()

file(GLOB documents CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/config.example.toml"
     "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/CHANGELOG.md"
     "${PROJECT_SOURCE_DIR}/LICENSE")
install(FILES ${documents} DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/pgnear")
