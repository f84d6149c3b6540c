// config.example.toml and pgneard.toml(5), printed from the table in keys.c.
#include "config/config.h"
#include "config/keys.h"

static bool starts_section(size_t row)
{
    return row == 0 || strcmp(KEY_ROWS[row].section, KEY_ROWS[row - 1].section) != 0;
}

// Breaks `text` into comment lines of at most 96 columns.
static void append_comment(struct buffer *out, const char *text)
{
    enum { COLUMNS = 94 };
    while (*text != '\0') {
        size_t len = strlen(text);
        if (len > COLUMNS) {
            len = COLUMNS;
            while (len > 0 && text[len] != ' ') {
                len--;
            }
        }
        buffer_printf(out, "# %.*s\n", (int)len, text);
        text += len;
        text += *text == ' ';
    }
}

void config_write_example(struct buffer *out)
{
    append_comment(out, "The configuration of pgneard. Every key is optional but a way to reach "
                        "PostgreSQL: postgres.url, postgres.host, or DATABASE_URL in the "
                        "environment. What is commented out shows the default. Durations carry a "
                        "unit (us, ms, s, m, h, d), sizes too (B, KiB, MiB, GiB, TiB).");
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        const struct key_row *row = &KEY_ROWS[i];
        if (starts_section(i)) {
            buffer_printf(out, "\n");
            append_comment(out, section_help(row->section));
            buffer_printf(out, "%s[%s]\n",
                          strcmp(row->section, "postgres.document") == 0 ? "#" : "", row->section);
        }
        append_comment(out, row->help);
        if (row->type == KEY_CHOICE) {
            buffer_printf(out, "# One of %s.\n", row->choices);
        }
        if (row->reread) {
            buffer_printf(out, "# SIGHUP re-reads it.\n");
        }
        buffer_printf(out, "#%s =%s%s\n", row->name, row->value != NULL ? " " : "",
                      row->value != NULL ? row->value : "");
    }
}

static void append_roff(struct buffer *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\\') {
            buffer_printf(out, "\\e");
        } else if (*at == '-') {
            buffer_printf(out, "\\-");
        } else if ((at == text || at[-1] == '\n') && (*at == '.' || *at == '\'')) {
            buffer_printf(out, "\\&%c", *at);
        } else {
            buffer_append(out, at, 1);
        }
    }
}

static void append_manual_row(struct buffer *out, const struct key_row *row)
{
    buffer_printf(out, ".TP\n.BR %s \" [", row->name);
    for (const char *at = row->value != NULL ? row->value : "unset"; *at != '\0'; at++) {
        buffer_printf(out, *at == '"' ? "\"\"" : "%c", *at);
    }
    buffer_printf(out, "]\"\n");
    append_roff(out, row->help);
    if (row->type == KEY_CHOICE) {
        buffer_printf(out, " One of %s.", row->choices);
    }
    if (row->reread) {
        buffer_printf(out, " SIGHUP re\\-reads it.");
    }
    buffer_printf(out, "\n");
}

void config_write_manual(struct buffer *out)
{
    buffer_printf(out, ".TH PGNEARD.TOML 5 \"\" \"pgnear\" \"pgnear\"\n"
                       ".SH NAME\npgneard.toml \\- configuration of pgneard\n"
                       ".SH DESCRIPTION\n"
                       "A TOML file, " CONFIG_PATH_DEFAULT " unless\n.BR pgneard (8)\n"
                       "is given another. Every key is optional but a way to reach PostgreSQL.\n"
                       "Durations carry a unit (us, ms, s, m, h, d), sizes too (B, KiB, MiB, GiB, "
                       "TiB).\nDefaults are in brackets. An unknown key, a wrong type or a value "
                       "out of range stops\nthe start with FILE:LINE: key: what is wrong.\n");
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        if (starts_section(i)) {
            buffer_printf(out, ".SH [%s]\n", KEY_ROWS[i].section);
            append_roff(out, section_help(KEY_ROWS[i].section));
            buffer_printf(out, "\n");
        }
        append_manual_row(out, &KEY_ROWS[i]);
    }
    buffer_printf(out, ".SH SEE ALSO\n.BR pgneard (8),\n.BR pgnear (1)\n");
}
