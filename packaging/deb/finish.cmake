# Run by cpack over what was laid down for the packages, before they are packed: what Debian's policy
# wants of each (a copyright, a changelog) and how it wants manual pages (compressed).

find_program(GZIP gzip REQUIRED)

function(compress)
    if(ARGN)
        execute_process(COMMAND ${GZIP} -9nf ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
    endif()
endfunction()

# DEP-5: the text of a license is indented by a blank, with a dot for an empty line.
set(copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pgnear

Files: *
Copyright: 2025, the pgnear authors
License: PostgreSQL
")
file(READ "${CMAKE_CURRENT_LIST_DIR}/../../LICENSE" license)
string(REGEX REPLACE "\n$" "" license "${license}")
string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
string(REGEX REPLACE "\n" "\n " license "${license}")
string(APPEND copyright " ${license}\n")

# The time of the build, or SOURCE_DATE_EPOCH.
string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC)
set(changelog "pgnear (${CPACK_PACKAGE_VERSION}) stable; urgency=medium

  * Version ${CPACK_PACKAGE_VERSION}; CHANGELOG.md of the package pgnear says what it changes.

 -- ${CPACK_PACKAGE_CONTACT}  ${now}
")

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    string(TOUPPER "${component}" upper)
    set(root "${CPACK_TEMPORARY_DIRECTORY}/${component}/usr/share")
    set(doc "${root}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME}")
    file(WRITE "${doc}/copyright" "${copyright}")
    file(WRITE "${doc}/changelog" "${changelog}")
    file(REMOVE "${doc}/LICENSE") # the same words as the copyright's
    file(GLOB pages "${root}/man/man*/*.[0-9]")
    compress("${doc}/changelog" ${pages})
    file(CHMOD "${doc}/copyright" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
