"""What holds rows back, by the beginning of their names: said beside the figures where a goal is
missed, and nowhere else. The first that fits is taken."""

REASONS = [
    ("socket-get-echo", "The echo is the kernel's part alone, which is 64 % of a get's processor "
     "time; the hot tier takes 10 % with 50 connections and 18 with one, most of it waiting for "
     "memory, and the rest is decoding, encoding and what they push out of the caches (perf)."),
    ("socket-get-select", "The goal supposed a SELECT of 100 us and more. On one core it takes "
     "56 us here (44 to 65), the round trip alone 18 (14 to 19), as a bare echo of the same "
     "bytes shows, and a get 24 (18 to 28): what looks up nothing is at 3.2 times a SELECT, "
     "and no server on a socket can be at 8. Of the backend's processor time 29 % is the "
     "kernel's (one recv and one send), the rest PostgreSQL's."),
    ("socket-get-50x16", "With 16 gets in one read the hot tier's waits for memory run side by "
     "side: 1.3 us of processor time a get of 100 B where LMDB's tree took 2.3 to 3.1 "
     "(docs/decisions/0009-hot-tier.md), and 2.6 of 1 KiB where memcached took 3.0 and Redis 3.7. "
     "A third of it is the way to the memory: each get looks at a page of the tier that the "
     "processor's table of pages does not know, which pages of 2 MiB would spare, at the price of "
     "writing them to the disk whole (docs/decisions/0019-reads-in-groups.md). "
     "A record of more than 1.2 KiB, key included, is LMDB's."),
    ("socket-get-50x1", "One recv, one send and one epoll_wait for each 47 gets (strace), which is "
     "the least; memcached and Redis do the same. Of the processor time of a get 64 % are the "
     "kernel's, as much as a bare echo; what waits for memory does so side by side and is 10 % "
     "(18 before, perf). In turn on a busy machine, the lower fifth of 14 rounds, on the server's "
     "core: 5.7 us of processor time a get of 100 B, memcached 7.9, Redis 8.3; 7.1 of 1 KiB, memcached "
     "8.6, Redis 8.8 (docs/decisions/0019-reads-in-groups.md): a fifth less, of which the client, on the "
     "same core, leaves half in the rate. On cores apart the wake-ups count besides, and who of the "
     "two is awake: 6.1 us of 1 KiB, memcached 7.5. Outside of the kernel a get of 1 KiB is 3330 "
     "instructions, 436 of them the copy out of the tier, nothing else more than 4 % (callgrind). "
     "io_uring, one call for all recvs and one for all sends, took 0.3 to 0.8 us of it in a bare "
     "echo, and is forbidden in most containers. The client's part is alike for all: 1016 "
     "instructions outside of the kernel for pgneard, 942 for memcached, 943 for Redis."),
    ("socket-get", "One recv and one send a get (strace), as memcached and Redis have; 65 % of "
     "the processor time is the kernel's, 18 % the hot tier's (perf), which for a get alone has "
     "nothing to do while it waits for memory: 11.4 us of 1 KiB on the server's core, memcached "
     "12.7, Redis 15.1. On cores apart wake-ups "
     "count besides: with server.busy_poll one client makes a third more gets a second."),
    ("direct-get-select", "The ratio is that of a system call to none, and of a context switch "
     "to none; it moves with the machine's wake-ups."),
    ("direct-get-redis", "The reference is a round trip over a socket, which moves with the "
     "machine's wake-ups. A get is 870 instructions (callgrind) and the waits for a bucket's head, "
     "an entry and a slot of the sketch: of 1.01 us of processor time the slot's small page took "
     "0.1, which is a large one now (docs/decisions/0009-hot-tier.md)."),
    ("direct-get-2", "Two readers write no line that the other reads but marks in the "
     "sketch, without which a read took 4 % less. Beside it two processes of arithmetic alone, "
     "which share nothing, made 1.07 times one (0.94 to 1.36) on a busy machine, where the "
     "readers made 1.05 (0.90 to 1.26): the row says what the machine leaves for a second "
     "process."),
    ("direct-get-1M-1KiB", "The hot tier has half of cache.size, room for nine in ten "
     "of these values: the others cost a look into it besides what LMDB takes. And "
     "a get copies the KiB out, where bare LMDB copies nothing "
     "(docs/decisions/0009-hot-tier.md)."),
    ("direct-get", "A hit in the hot tier waits for the memory twice, at the head of its "
     "bucket and at its entry; what is not in it costs that and then what LMDB takes "
     "(docs/decisions/0009-hot-tier.md)."),
    ("set-journal-50", "A group takes one sync, as Redis' append does "
     "(docs/decisions/0011-log-before-outbox.md), and 22 of the 50 writes are in it. Then the "
     "two cores are busy: 8.1 us of processor time a write in the writer, 7.3 in the server loop, "
     "0.6 in the mover, whose commits nobody waits for (docs/decisions/0018-commits-beside-turns.md), "
     "8 in the client, and the flush to PostgreSQL beside them, which Redis has not."),
    ("set-journal", "One sync a write, as Redis has, but two threads to wake on the way, from the "
     "server loop to the writer and back; meanwhile the writes move to the outbox, whose commits "
     "sync twice on the same disk (docs/decisions/0018-commits-beside-turns.md)."),
    ("set-memory", "Two threads, the client and, once the flush gives way no longer, PostgreSQL share "
     "two cores, where Redis has one thread and the client. With 16 at a time the server loop takes "
     "0.8 to 0.9 us of processor time for a set, the writer 0.8 to 1.0 and the mover 0.2 to 0.5, Redis "
     "2.1 to 2.5 beside it; with one at a time 3.7, 1.2 and 0.3, Redis 5.1. The flush gives way for a "
     "second, and as long as three quarters of the outbox are free "
     "(docs/decisions/0010-flush-gives-way.md). In two seconds without a pause PostgreSQL takes 1.7 to 2 "
     "us a set besides and the writer 1.4, since it lays what was flushed over the cache "
     "(docs/decisions/0021-memtable.md): what is written for longer than the outbox has room comes to "
     "what PostgreSQL takes, and Redis has none behind it."),
    ("set-postgres", "PostgreSQL's commit is the price of both; here it is shared by all who "
     "wait for one, and the rest is PostgreSQL's own work on the rows."),
    ("flush", "The time counts from the first set, and for the 60 to 100 ms in which the sets come "
     "the flush gives way to them (docs/decisions/0010-flush-gives-way.md). Then a batch of 2000 "
     "inserts takes 13 ms of the backend's processor time, 6.7 us a row where the hand-written "
     "upserts take 8.1, 0.6 ms for its fsync and 0.4 until the next one comes (perf sched, "
     "docs/decisions/0015-cheaper-writes.md). In 20 rounds on a quiet machine the ratio was from "
     "0.84 to 1.14, and 0.99 in the middle."),
    ("commit-to-cache", "The notification passes the pg worker, the writer's commit and the "
     "server loop before a watcher hears of it: three threads to wake where the bare listener "
     "is one. Of 600 commits the p99 is the sixth slowest: in four rounds beside 10,000 writes a "
     "second on a busy machine it was 21, 13, 10 and 21 ms, the bare listener's 13, 22, 16 and "
     "17, so that the ratio of a round was anything from 0.6 to 1.6; the p50 was 1.5, 2.3, 1.4 "
     "and 1.9 ms, the listener's 1.9, 1.8, 1.7 and 2.5."),
    ("miss", "A get through another process has two wake-ups more than a SELECT, and a wake-up on a "
     "core that sleeps costs 15 to 30 us on these machines, one on the waker's own 1 to 2: what the "
     "kernel chooses for client, node and PostgreSQL counts for more than what they do. Pinned, the "
     "p50 of a miss was 1.2 and 1.4 SELECTs where the node shared a core with one of the two, 2.2 "
     "where all three did (21 us of 9.5) and 12.6 where the node was alone. Unpinned it took 99 us "
     "beside a SELECT of 50; PgBouncer, which passes the same SELECT on in one thread and looks at "
     "nothing, took 84. The server loop sends the SELECT and takes its answer itself, with 6 system "
     "calls: a wait, a recv and a send for the client and for PostgreSQL each. A fifth of its 34 us "
     "of processor time is outside the kernel (docs/decisions/0022-loops-as-guests.md). Spinning for "
     "PostgreSQL's answer helped in two of four placements, for up to 20 us of processor time more."),
    ("warm-start", "The cache is read through once before it is trusted."),
    ("sweep", "Keys and versions are compared in order of keys, so PostgreSQL reads the index; "
     "the COPY reads the table as it lies."),
    ("preload", "PostgreSQL makes pages in order of keys and values as text: by itself 1.02 s of "
     "processor time where COPY of the table as it lies takes 0.89 (the least of 15 alternating "
     "runs). Beside it the pg worker spends 0.6 s on reading and converting and the writer 0.38 s on "
     "the tree, on the same two processors, which are two threads of one core: two programs that "
     "only compute get 0.6 to 0.7 of what one gets alone, so PostgreSQL takes 1.6 to 2.0 s then, "
     "nearly all of the row's time. In three alternating runs on a busy machine it took 2.0, 2.3 and "
     "2.0 s and the COPY 1.5, 1.4 and 1.25, a ratio of 1.6; the release before it took 2.5, 2.7 and "
     "2.5 (docs/decisions/0012-preload-in-step.md)."),
    ("p99-under", "Two cores for two COPYs, a backup, the sweep, a client that misses without "
     "a pause and the reader: each waits for the processor. Redis, which takes no part in any "
     "of it, has the same p99 beside the same disturbance (last reference). By perf sched "
     "nothing in the daemon holds a read up: the loop waits for no page or disk, and most of a "
     "slow read's time is before it is sent (docs/decisions/0014-short-turns.md)."),
    ("eviction", "The hand passes keys in their order and knows few degrees of use; LRU knows "
     "the order of all uses. Simulated figures are in docs/decisions/0013-cold-fills.md."),
    ("json", "Counted by callgrind for the document of the row: simdjson's walk by itself "
     "takes 12.8 thousand instructions; the whole way to MessagePack 30.5, of which 3.5 are "
     "simdjson's index of the text, 11 the walk, 4 the copies and the builder's calls, 3.2 put keys "
     "in order, 3.1 keep what keys there are, 2.8 look for the end of strings and 2 make numbers "
     "(docs/decisions/0002-json-library.md). The way back takes 28.6, of which 10.8 "
     "check what it reads, UTF-8 and nesting, as if it were a stranger's."),
]


def reason_for(identifier):
    for beginning, text in REASONS:
        if identifier.startswith(beginning):
            return text
    return ""
