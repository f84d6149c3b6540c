// Dead letters in the journal phase of a turn. A letter that is tried again stays until the new
// entry is applied, and forgetting it is journaled with that result: whatever crashes in between,
// the write is applied once and the letter is there as long as it is not.
#include "cache/journal.h"

// Whether an entry tries the letter again that may still be applied.
static bool is_under_way(struct turn *turn, const struct outbox_letter *letter)
{
    struct writer *writer = turn->writer;
    if (letter->retry_seq == 0 || letter->retry_seq <= writer->applied_seq) {
        return false;
    }
    struct buffer bytes = {0};
    struct entry entry;
    bool found = outbox_get(&writer->outbox, letter->retry_seq, &bytes, &entry) == ERROR_NONE &&
                 !entry.retired;
    buffer_deinit(&bytes);
    return found;
}

// The letter that the call names, where it can be dealt with now; `may` is false where not.
static enum error find(struct turn *turn, struct turn_item *item, struct outbox_letter *letter,
                       bool *may)
{
    enum error error =
        outbox_find_letter(&turn->writer->outbox, item_request(item)->call.seq, letter);
    *may = error == ERROR_NONE;
    if (*may && is_under_way(turn, letter)) {
        *may = false;
        journal_refuse(item, ERROR_CONFLICT, "it is being tried again");
    }
    return error;
}

// The entry anew, with bytes of its own: the letter's die when it is written back.
static void copy_entry(struct turn *turn, struct turn_item *item,
                       const struct outbox_letter *letter)
{
    const struct call *call = &item_request(item)->call;
    size_t pairs_len = letter->entry.pairs.len;
    buffer_clear(&item->bytes, SIZE_MAX);
    buffer_append_slice(&item->bytes, letter->entry.pairs);
    if (!call->force) {
        buffer_append_slice(&item->bytes, letter->state);
    }
    struct slice bytes = buffer_slice(&item->bytes);
    item->entry = letter->entry;
    item->entry.seq = outbox_take_seq(&turn->writer->outbox);
    item->entry.ack = ACK_POSTGRES;
    item->entry.condition = CONDITION_NONE; // the guards take its place
    item->entry.retired = false;
    item->entry.accepted_us = turn->now_us;
    item->entry.id = call->id;
    item->entry.letter_seq = letter->seq;
    item->entry.is_guarded = !call->force;
    item->entry.pairs = slice_of(bytes.at, pairs_len);
    item->entry.guards = slice_of(bytes.at + pairs_len, bytes.len - pairs_len);
}

enum error journal_retry(struct turn *turn, struct turn_item *item)
{
    struct outbox_letter letter;
    bool may;
    enum error error = find(turn, item, &letter, &may);
    if (error == ERROR_NOT_FOUND) {
        journal_refuse(item, ERROR_BAD_REQUEST, "there is no such dead letter");
        return ERROR_NONE;
    }
    if (error != ERROR_NONE || !may) {
        return error;
    }
    if (!letter.has_state && !item_request(item)->call.force) {
        journal_refuse(item, ERROR_CONFLICT,
                       "what its keys held when it was parked is not known; force it");
        return ERROR_NONE;
    }
    copy_entry(turn, item, &letter);
    letter.retry_seq = item->entry.seq;
    return outbox_change_letter(&turn->writer->outbox, &letter);
}

enum error journal_discard(struct turn *turn, struct turn_item *item)
{
    struct outbox_letter letter;
    bool may;
    enum error error = find(turn, item, &letter, &may);
    if (error == ERROR_NONE && may) {
        error = outbox_forget_letter(&turn->writer->outbox, letter.seq);
    }
    item_request(item)->reply.boolean = error == ERROR_NONE && may;
    return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
}

enum error journal_forget_letters(struct turn *turn, const struct flushed_message *flushed)
{
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < flushed->letters_count; i++) {
        error = outbox_forget_letter(&turn->writer->outbox, flushed->letters[i]);
        error = error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    return error;
}

// PostgreSQL's newest words take the place of the older ones; a conflict has none.
enum error journal_letter_stays(struct turn *turn, const struct turn_item *item, bool *exists)
{
    struct outbox *outbox = &turn->writer->outbox;
    const struct retire_message *retire = (struct retire_message *)item->message;
    struct outbox_letter letter;
    enum error error = outbox_find_letter(outbox, item->entry.letter_seq, &letter);
    *exists = error == ERROR_NONE;
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    if (retire->reason == RETIRE_CANCELLED || !retire->is_poison) {
        return ERROR_NONE;
    }
    letter.sqlstate = slice_of_string(retire->sqlstate);
    letter.text = slice_of_string(retire->text);
    letter.at_us = turn->now_us;
    return outbox_change_letter(outbox, &letter);
}
