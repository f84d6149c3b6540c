// top: asks for the figures each second and shows them. On a terminal the screen is drawn anew and
// q or Ctrl-C ends; elsewhere snapshots follow each other with an empty line between them. The
// first one comes after a second, since a rate needs two looks.

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "cli/stats_map.h"
#include "cli/top_view.h"

enum { EVERY_US = CLOCK_US_PER_S };

static const char CLEAR[] = "\033[H\033[2J";

struct screen {
    bool is_drawn; // standard output is a terminal
    bool has_keys; // standard input is one
    struct termios before;
    int signal_fd;
    int64_t left; // snapshots still to be printed
    // The last answer:
    struct buffer stats;
    struct buffer trouble; // what keeps the node from its work; empty: nothing
    int64_t asked_boot_us; // 0: none
};

static bool open_screen(struct screen *screen)
{
    screen->signal_fd = signals_open();
    screen->is_drawn = isatty(STDOUT_FILENO) == 1;
    screen->has_keys = screen->is_drawn && tcgetattr(STDIN_FILENO, &screen->before) == 0;
    if (screen->has_keys) {
        struct termios keys = screen->before;
        keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    return screen->signal_fd >= 0;
}

static void close_screen(struct screen *screen)
{
    if (screen->has_keys) {
        tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
    }
    if (screen->signal_fd >= 0) {
        close(screen->signal_fd);
    }
    buffer_deinit(&screen->stats);
    buffer_deinit(&screen->trouble);
}

// Waits until it is time for the next look. False where the user has seen enough.
static bool await_turn(const struct screen *screen, int64_t until_boot_us)
{
    for (;;) {
        int64_t left_us = until_boot_us - clock_boot_us();
        if (left_us <= 0) {
            return true;
        }
        struct pollfd entries[] = {
            {.fd = screen->signal_fd, .events = POLLIN},
            {.fd = screen->has_keys ? STDIN_FILENO : -1, .events = POLLIN},
        };
        poll(entries, 2, (int)(left_us / CLOCK_US_PER_MS) + 1);
        char key;
        bool is_pressed = entries[1].revents != 0;
        if (entries[0].revents != 0 ||
            (is_pressed && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))) {
            return false;
        }
    }
}

// What is above the fold is what matters: a screen that scrolls would show the end.
static void draw(struct slice text)
{
    struct winsize size = {0};
    struct buffer fitting = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    top_fit(text, size.ws_row, size.ws_col, &fitting);
    struct slice shown = buffer_slice(&fitting);
    fputs(CLEAR, stdout);
    fwrite(shown.at, 1, shown.len, stdout);
    buffer_deinit(&fitting);
}

static enum exit_status show(struct screen *screen, struct slice text)
{
    if (screen->is_drawn) {
        draw(text);
    } else {
        fwrite(text.at, 1, text.len, stdout);
    }
    if (!screen->is_drawn && screen->left > 1) {
        fputc('\n', stdout);
    }
    return fflush(stdout) == 0 ? EXIT_DONE
                               : complain(EXIT_REFUSED, "cannot write: %s", strerrordesc_np(errno));
}

static pgnear_code ask_for_trouble(struct screen *screen, pgnear *node, pgnear_error *error)
{
    pgnear_bytes hello;
    pgnear_code code = pgnear_hello(node, NULL, &hello, error);
    struct slice value, words;
    buffer_clear(&screen->trouble, SIZE_MAX);
    if (code == PGNEAR_OK && stats_map_find(slice_of(hello.at, hello.len), "last_error", &value)) {
        struct mpack_cursor cursor = mpack_cursor_of(value);
        if (mpack_read_str(&cursor, &words)) {
            buffer_append_slice(&screen->trouble, words);
        }
    }
    return code;
}

// One look; what is shown is made of it and of the one before.
static enum exit_status look(struct screen *screen, struct invocation *invocation)
{
    pgnear_bytes answer;
    pgnear_error error;
    if (ask_for_trouble(screen, invocation->node, &error) != PGNEAR_OK ||
        pgnear_stats(invocation->node, NULL, &answer, &error) != PGNEAR_OK) {
        bool waits = screen->is_drawn && error.code == PGNEAR_UNREACHABLE;
        screen->asked_boot_us = 0;
        return waits ? show(screen, slice_of_string(error.message)) : complain_of_call(&error);
    }
    int64_t now_boot_us = clock_boot_us();
    struct slice now = slice_of(answer.at, answer.len);
    enum exit_status status = EXIT_DONE;
    if (screen->asked_boot_us != 0) {
        struct buffer text = {0};
        double elapsed_s = (double)(now_boot_us - screen->asked_boot_us) / CLOCK_US_PER_S;
        top_view(buffer_slice(&screen->stats), now, elapsed_s, buffer_slice(&screen->trouble),
                 &text);
        status = show(screen, buffer_slice(&text));
        buffer_deinit(&text);
        screen->left--;
    }
    buffer_clear(&screen->stats, SIZE_MAX);
    buffer_append_slice(&screen->stats, now);
    screen->asked_boot_us = now_boot_us;
    return status;
}

enum exit_status run_top(struct invocation *invocation)
{
    struct screen screen = {.left = INT64_MAX};
    const char *count = invocation->options[OPTION_SNAPSHOTS];
    if (count != NULL && !read_integer_operand("--count", count, 1, &screen.left)) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    if (!open_screen(&screen)) {
        close_screen(&screen);
        return complain(EXIT_REFUSED, "signalfd: %s", strerrordesc_np(errno));
    }
    int64_t next_boot_us = clock_boot_us();
    do {
        status = look(&screen, invocation);
        next_boot_us += EVERY_US;
    } while (status == EXIT_DONE && screen.left > 0 && await_turn(&screen, next_boot_us));
    close_screen(&screen);
    return status;
}
