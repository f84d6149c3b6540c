// The tables of commands and options, and what is made of them: completion in bash, and a man page
// that leaves none out.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "cli/command.h"

// What completing the last of the words offers, blank-separated.
static const char *complete(const char *words)
{
    static char offered[4096];
    char path[] = "/tmp/pgnear-completion-XXXXXX";
    char command[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *script = fdopen(fd, "w");
    completion_print(script);
    assert_int_equal(fclose(script), 0);
    snprintf(command, sizeof command,
             "bash -c '. %s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));"
             " cd /; _pgnear; echo \"${COMPREPLY[@]}\"'",
             path, words);
    FILE *bash = popen(command, "r"); // NOLINT(cert-env33-c): the words are this test's own
    assert_non_null(bash);
    size_t len = fread(offered, 1, sizeof offered - 1, bash);
    assert_int_equal(pclose(bash), 0);
    unlink(path);
    offered[len > 0 ? len - 1 : 0] = '\0';
    return offered;
}

static void completes_commands_options_and_their_arguments(void **state)
{
    (void)state;
    assert_string_equal(complete("pgnear sc"), "scan schema");
    assert_string_equal(complete("pgnear --socket /x sc"), "scan schema");
    assert_string_equal(complete("pgnear scan --pre"), "--pretty --prefix");
    assert_string_equal(complete("pgnear get --pre"), "--pretty");
    assert_string_equal(complete("pgnear set k 1 --ack j"), "journal");
    assert_string_equal(complete("pgnear import --on-conflict \"\""), "replace skip fail");
    assert_string_equal(complete("pgnear touch k no"), "none");
    assert_string_equal(complete("pgnear import et"), "etc");
    assert_string_equal(complete("pgnear schema -c et"), "etc");
    assert_string_equal(complete("pgnear get et"), "");
}

static const char *read_manual(void)
{
    static char text[256 * 1024];
    FILE *file = fopen(PGNEAR_SOURCE_DIR "/docs/man/pgnear.1", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

// The name as troff has it: "dead\-letters".
static const char *in_troff(const char *name)
{
    static char escaped[128];
    size_t used = 0;
    for (; *name != '\0'; name++) {
        if (*name == '-') {
            escaped[used++] = '\\';
        }
        escaped[used++] = *name;
    }
    escaped[used] = '\0';
    return escaped;
}

static void the_manual_has_every_command_and_option(void **state)
{
    (void)state;
    const char *manual = read_manual();
    const struct command *command;
    const struct option_row *option;
    for (size_t i = 0; (command = command_at(i)) != NULL; i++) {
        char heading[160];
        snprintf(heading, sizeof heading, "\n.B %s", in_troff(command->name));
        if (command->run != NULL && strstr(manual, heading) == NULL) {
            fail_msg("docs/man/pgnear.1 does not have the command %s", command->name);
        }
    }
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        char name[160];
        snprintf(name, sizeof name, "\\-\\-%s", in_troff(option->name));
        if (strstr(manual, name) == NULL) {
            fail_msg("docs/man/pgnear.1 does not have the option --%s", option->name);
        }
    }
}

static void help_fits_a_terminal(void **state)
{
    (void)state;
    const struct option_row *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        assert_in_range(strlen(option->help), 1, 80);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completes_commands_options_and_their_arguments),
        cmocka_unit_test(the_manual_has_every_command_and_option),
        cmocka_unit_test(help_fits_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
