// dead-letters: list, retry, discard.

#include <string.h>

#include "cli/input.h"
#include "cli/output.h"

static void pack_text(struct document *document, const char *name, pgnear_bytes text)
{
    mpack_pack_string(&document->packer, name);
    document_pack_bytes(document, text);
}

static enum exit_status print_letter(const pgnear_dead_letter *letter,
                                     const struct invocation *invocation)
{
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 7);
    mpack_pack_string(&document.packer, "seq");
    msgpack_pack_uint64(&document.packer, letter->seq);
    pack_text(&document, "key", letter->key);
    mpack_pack_string(&document.packer, "keys");
    msgpack_pack_uint64(&document.packer, letter->keys);
    pack_text(&document, "op", letter->op);
    pack_text(&document, "sqlstate", letter->sqlstate);
    pack_text(&document, "message", letter->message);
    mpack_pack_string(&document.packer, "at_us");
    msgpack_pack_int64(&document.packer, letter->at_us);
    return document_print(&document, invocation);
}

static enum exit_status list(struct invocation *invocation)
{
    pgnear_dead_letters_options options = PGNEAR_DEAD_LETTERS_OPTIONS_INIT;
    enum exit_status status = EXIT_DONE;
    size_t count = 1;
    while (count > 0 && status == EXIT_DONE) {
        const pgnear_dead_letter *letters;
        pgnear_error error;
        if (pgnear_dead_letters(invocation->node, &options, &letters, &count, &error) !=
            PGNEAR_OK) {
            return complain_of_call(&error);
        }
        for (size_t i = 0; status == EXIT_DONE && i < count; i++) {
            status = print_letter(&letters[i], invocation);
            options.after_seq = letters[i].seq;
        }
    }
    return status;
}

static enum exit_status retry(struct invocation *invocation, uint64_t seq)
{
    pgnear_written written;
    pgnear_error error;
    if (pgnear_retry_dead_letter(invocation->node, seq, option_is_given(invocation, OPTION_FORCE),
                                 NULL, &written, &error) != PGNEAR_OK) {
        enum exit_status status = complain_of_call(&error);
        // A number that was read as one is wrong in no other way than that there is no such letter.
        return error.code == PGNEAR_BAD_REQUEST ? EXIT_ABSENT : status;
    }
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 1);
    mpack_pack_string(&document.packer, "seq");
    msgpack_pack_uint64(&document.packer, written.seq);
    return document_print(&document, invocation);
}

static enum exit_status discard(struct invocation *invocation, uint64_t seq)
{
    bool existed;
    pgnear_error error;
    if (pgnear_discard_dead_letter(invocation->node, seq, NULL, &existed, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    if (!existed) {
        return complain(EXIT_ABSENT, "there is no dead letter %s", invocation->operands[1]);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_true(&document.packer);
    return document_print(&document, invocation);
}

enum exit_status run_dead_letters(struct invocation *invocation)
{
    const char *action = invocation->operands_count > 0 ? invocation->operands[0] : "list";
    bool lists = strcmp(action, "list") == 0;
    bool retries = strcmp(action, "retry") == 0;
    if (!lists && !retries && strcmp(action, "discard") != 0) {
        return complain_usage("dead-letters takes list, retry SEQ or discard SEQ");
    }
    if (invocation->operands_count > (lists ? 1 : 2) ||
        (!lists && invocation->operands_count < 2)) {
        return complain_usage("dead-letters %s takes %s", action, lists ? "nothing" : "a SEQ");
    }
    if (!retries && option_is_given(invocation, OPTION_FORCE)) {
        return complain_usage("--force goes with retry");
    }
    int64_t seq = 0;
    if (!lists && !read_integer_operand("SEQ", invocation->operands[1], 1, &seq)) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    if (lists) {
        return list(invocation);
    }
    return retries ? retry(invocation, (uint64_t)seq) : discard(invocation, (uint64_t)seq);
}
