// A client that sends anything: bytes -> messages -> calls -> requests -> answers, by the very
// session that serves sockets, in one piece and cut in two. Whatever comes, the session survives,
// what it answers is well-formed MessagePack, and each error message is UTF-8.

#include "base/check.h"
#include "base/messages.h"
#include "base/mpack.h"
#include "base/words.h"
#include "server/rules.h"
#include "server/session.h"
#include "server/undecided.h"

enum { FRAME_BYTES_MAX = 1 << 16, VALUE_BYTES_MAX = 1 << 12, TIMEOUT_MS = 5000 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// A cache whose answer follows from the key, so that hits and misses are all met.
static enum lookup look_up(struct cache_reader *reader, struct slice key, struct cached *cached)
{
    (void)reader;
    *cached = (struct cached){.present = true, .version = 1, .value = slice_of("\x01", 1)};
    cached->pending = key.len % 2 == 0;
    cached->pending_seq = cached->pending;
    return key.at[0] % 2 == 0 ? LOOKUP_HIT : LOOKUP_MISS;
}

static void do_nothing(struct cache_reader *reader)
{
    (void)reader;
}

static bool look_up_hot(struct cache_reader *reader, struct slice key, uint64_t hash,
                        int64_t now_boot_us, enum lookup *found, struct cached *cached)
{
    (void)reader;
    (void)key;
    (void)hash;
    (void)now_boot_us;
    (void)found;
    (void)cached;
    return false;
}

static uint64_t prefetch(struct cache_reader *reader, struct slice key)
{
    (void)reader;
    return key.len + 1;
}

static void prefetch_record(struct cache_reader *reader, uint64_t hash)
{
    (void)reader;
    (void)hash;
}

static bool is_never_torn(struct cache_reader *reader)
{
    (void)reader;
    return false;
}

static bool is_never_current(struct cache_reader *reader)
{
    (void)reader;
    return false;
}

static int64_t no_time(void *cache)
{
    (void)cache;
    return 0;
}

static const struct cache_port CACHE = {.begin = do_nothing,
                                        .lookup = look_up,
                                        .look_up_hot = look_up_hot,
                                        .prefetch = prefetch,
                                        .prefetch_record = prefetch_record,
                                        .is_current = is_never_current,
                                        .is_torn = is_never_torn,
                                        .end = do_nothing,
                                        .now_us = no_time};
static const struct node_facts FACTS = {"version", "node", "table", "cache_dir"};

struct stage {
    struct status status;
    struct mailbox out; // writer and worker in one
    struct mailbox home;
    struct desk desk;
    struct session session;
};

static void set_up(struct stage *stage)
{
    *stage = (struct stage){0};
    status_init(&stage->status);
    CHECK(mailbox_init(&stage->out, 64, 1 << 24) == ERROR_NONE);
    CHECK(mailbox_init(&stage->home, 64, 1 << 24) == ERROR_NONE);
    stage->desk = (struct desk){
        .decoder = {.value_bytes_max = VALUE_BYTES_MAX, .timeout_ms = TIMEOUT_MS},
        .dispatch = {.cache = &CACHE,
                     .writer = &stage->out,
                     .pg = &stage->out,
                     .home = &stage->home,
                     .status = &stage->status,
                     .facts = &FACTS,
                     .reply_bytes_max = FRAME_BYTES_MAX},
        .status = &stage->status,
        .frame_bytes_max = FRAME_BYTES_MAX,
    };
    session_init(&stage->session, &stage->desk, false, NULL);
}

static void tear_down(struct stage *stage)
{
    dispatch_end(&stage->desk.dispatch);
    session_deinit(&stage->session);
    CHECK(stage->desk.weight_bytes == 0 && stage->desk.waiting_count == 0);
    desk_deinit(&stage->desk);
    mailbox_deinit(&stage->out);
    mailbox_deinit(&stage->home);
    status_deinit(&stage->status);
}

static void answer(struct request *request)
{
    if (method_class(request->call.method) == METHOD_READ) {
        reply_items(&request->reply, request->call.pairs_count);
    }
    if (request->call.method == METHOD_BACKUP || request->call.method == METHOD_RESTORE) {
        request->reply.backups = arena_alloc(&request->reply.arena, sizeof(struct backup_item));
        request->reply.backups_count = 1;
    }
    request_finish(request);
}

// Lets all requests that are out come home, and those that waited for them go out.
static void answer_all(struct stage *stage)
{
    struct message *sent;
    while ((sent = mailbox_take(&stage->out)) != NULL) {
        for (struct message *next; sent != NULL; sent = next) {
            next = sent->next;
            answer((struct request *)sent);
        }
        struct message *home = mailbox_take(&stage->home);
        for (struct message *next; home != NULL; home = next) {
            next = home->next;
            undecided_take_home((struct request *)home);
        }
    }
    CHECK(stage->session.flights_count == 0);
}

static void check_message_of(struct slice response)
{
    struct mpack_cursor cursor = mpack_cursor_of(response);
    uint32_t fields, pairs;
    uint64_t number;
    struct slice name, text;
    CHECK(mpack_read_array(&cursor, &fields) && mpack_read_uint(&cursor, &number));
    if (fields != 4 || !mpack_read_uint(&cursor, &number) || !mpack_read_map(&cursor, &pairs)) {
        return; // a notification, or no error
    }
    for (int i = 0; i < 2; i++) {
        CHECK(mpack_read_str(&cursor, &name) && mpack_read_str(&cursor, &text) && is_text(text));
    }
}

// Checks and removes what was answered; the number of messages.
static size_t take_answers(struct stage *stage)
{
    struct buffer *out = &stage->session.out;
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(out));
    size_t count = 0;
    for (; cursor.at < cursor.end; count++) {
        struct slice response;
        CHECK(mpack_skip(&cursor, &response) == DECODE_OK);
        check_message_of(response);
    }
    buffer_clear(out, SIZE_MAX);
    return count;
}

// Gives the session one piece after what it has not taken yet. False once it takes no more.
static bool give(struct stage *stage, struct buffer *in, struct slice piece, size_t *answers)
{
    buffer_append_slice(in, piece);
    enum taking taking;
    do {
        size_t consumed;
        struct expected_get gets[EXPECTED_GETS_MAX];
        size_t gets_count = session_expect(&stage->session, buffer_slice(in), gets,
                                           buffer_len(in) % (EXPECTED_GETS_MAX + 1));
        taking = session_take(&stage->session, buffer_slice(in), gets, gets_count, &consumed);
        dispatch_end(&stage->desk.dispatch);
        buffer_consume(in, consumed);
        answer_all(stage);
        *answers += take_answers(stage);
    } while (taking == TAKING_PAUSED || taking == TAKING_YIELDS);
    return taking != TAKING_ENDED;
}

static size_t serve(struct slice first, struct slice second)
{
    struct stage stage;
    struct buffer in = {0};
    size_t answers = 0;
    set_up(&stage);
    if (give(&stage, &in, first, &answers)) {
        give(&stage, &in, second, &answers);
    }
    buffer_deinit(&in);
    tear_down(&stage);
    return answers;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t cut = len == 0 ? 0 : bytes[len - 1] % len;
    size_t whole = serve(slice_of(bytes, len), slice_of(bytes, 0));
    size_t cut_in_two = serve(slice_of(bytes, cut), slice_of(bytes + cut, len - cut));
    CHECK_VALUES(whole == cut_in_two, "%zu and %zu", whole, cut_in_two);
    return 0;
}
