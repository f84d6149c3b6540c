// The stream of frames: the same frames however the bytes arrive, deadlines, and ends.

#include "client/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

// A link whose other end is the test's.
static int open_pair(struct link *link)
{
    int ends[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    link_init(link);
    link->fd = ends[0];
    assert_return_code(fcntl(link->fd, F_SETFL, O_NONBLOCK), 0);
    return ends[1];
}

static int64_t soon_us(void)
{
    return clock_boot_us() + CLOCK_US_PER_MS;
}

static int64_t later_us(void)
{
    return clock_boot_us() + 20 * (int64_t)CLOCK_US_PER_S;
}

static const char FRAMES[] = "\x93\x02\xa1x\x90\x94\x01\x05\xc0\xc4\x03"
                             "abc\x01";
static const size_t LENGTHS[] = {5, 9, 1};

static void assert_frames(struct link *link)
{
    const char *at = FRAMES;
    for (size_t i = 0; i < 3; i++) {
        struct slice frame;
        assert_int_equal(link_receive(link, later_us(), &frame), LINK_OK);
        assert_int_equal(frame.len, LENGTHS[i]);
        assert_memory_equal(frame.at, at, frame.len);
        at += frame.len;
    }
}

static void frames_are_the_same_at_every_split(void **state)
{
    (void)state;
    size_t len = sizeof FRAMES - 1;
    for (size_t split = 0; split <= len; split++) {
        struct link link;
        int peer = open_pair(&link);
        assert_int_equal(write(peer, FRAMES, split), split);
        struct slice frame;
        size_t whole = 0;
        size_t before = 0;
        while (whole < 3 && before + LENGTHS[whole] <= split) {
            before += LENGTHS[whole++];
            assert_int_equal(link_receive(&link, soon_us(), &frame), LINK_OK);
        }
        assert_int_equal(link_receive(&link, soon_us(), &frame), LINK_LATE);
        assert_int_equal(write(peer, FRAMES + split, len - split), len - split);
        for (; whole < 3; whole++) {
            assert_int_equal(link_receive(&link, later_us(), &frame), LINK_OK);
            assert_memory_equal(frame.at, FRAMES + before, LENGTHS[whole]);
            before += LENGTHS[whole];
        }
        close(peer);
        link_deinit(&link);
    }
}

static void many_frames_of_one_read_come_one_by_one(void **state)
{
    (void)state;
    struct link link;
    int peer = open_pair(&link);
    assert_int_equal(write(peer, FRAMES, sizeof FRAMES - 1), sizeof FRAMES - 1);
    assert_frames(&link);
    struct slice frame;
    assert_int_equal(link_receive(&link, soon_us(), &frame), LINK_LATE);
    close(peer);
    assert_int_equal(link_receive(&link, later_us(), &frame), LINK_BROKEN);
    link_deinit(&link);
}

static void what_is_no_messagepack_is_bad(void **state)
{
    (void)state;
    struct link link;
    int peer = open_pair(&link);
    assert_int_equal(write(peer, "\x92\x01\xc1", 3), 3);
    struct slice frame;
    assert_int_equal(link_receive(&link, later_us(), &frame), LINK_BAD);
    close(peer);
    link_deinit(&link);
}

static void a_frame_cut_off_by_the_end_is_none(void **state)
{
    (void)state;
    struct link link;
    int peer = open_pair(&link);
    assert_int_equal(write(peer, FRAMES, 3), 3);
    close(peer);
    struct slice frame;
    assert_int_equal(link_receive(&link, later_us(), &frame), LINK_BROKEN);
    // Nor is it the beginning of one on the next connection.
    int fds[2];
    link_break(&link);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    link.fd = fds[0];
    assert_int_equal(write(fds[1], FRAMES, sizeof FRAMES - 1), sizeof FRAMES - 1);
    assert_frames(&link);
    close(fds[1]);
    link_deinit(&link);
}

static void sending_gives_up_at_the_deadline(void **state)
{
    (void)state;
    enum { BYTES = 8 * 1024 * 1024 };
    struct link link;
    int peer = open_pair(&link);
    struct buffer bytes = {0};
    memset(buffer_reserve(&bytes, BYTES), 0, BYTES);
    buffer_commit(&bytes, BYTES);
    size_t sent;
    assert_int_equal(link_send(&link, buffer_slice(&bytes), soon_us(), &sent), LINK_LATE);
    assert_true(sent > 0 && sent < BYTES);
    close(peer);
    assert_int_equal(link_send(&link, buffer_slice(&bytes), later_us(), &sent), LINK_BROKEN);
    buffer_deinit(&bytes);
    link_deinit(&link);
}

static void hanging_up_shows(void **state)
{
    (void)state;
    struct link link;
    int peer = open_pair(&link);
    assert_false(link_is_hung_up(&link));
    assert_int_equal(write(peer, "\x01", 1), 1);
    assert_false(link_is_hung_up(&link));
    struct slice frame;
    assert_int_equal(link_receive(&link, later_us(), &frame), LINK_OK);
    close(peer);
    assert_true(link_is_hung_up(&link));
    link_break(&link);
    assert_false(link_is_open(&link));
    link_deinit(&link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_the_same_at_every_split),
        cmocka_unit_test(many_frames_of_one_read_come_one_by_one),
        cmocka_unit_test(what_is_no_messagepack_is_bad),
        cmocka_unit_test(a_frame_cut_off_by_the_end_is_none),
        cmocka_unit_test(sending_gives_up_at_the_deadline),
        cmocka_unit_test(hanging_up_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
