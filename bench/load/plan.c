#include "load/plan.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char USAGE[] =
    "usage: bench_load --protocol NAME --socket PATH [OPTION]...\n"
    "\n"
    "Drives one server over a Unix socket and prints a JSON object of what came of it.\n"
    "  --protocol pgnear|redis|memcached|echo\n"
    "  --mix get|set|a|b|c|d|e|f   what is done; a letter is a mix of YCSB [get]\n"
    "  --distribution uniform|zipf|sequential|latest|one|scans   of keys [the mix's]\n"
    "  --connections N [1]  --pipeline N [1]           requests in flight on each\n"
    "  --keys N [10000]  --first-key N [0]  --value-bytes N [100]\n"
    "  --seconds S [1]  --warmup S [0.1]  --operations N (end after so many)\n"
    "  --rate N      open loop: so many a second, each due at its time whether or not\n"
    "                those before it are done, and its latency counted from then\n"
    "  --ack LEVEL   of pgnear's sets  --seed N [1]  --cpu N (pin)\n"
    "  --spin        poll instead of sleeping\n"
    "  --echo-request-bytes N  --echo-reply-bytes N\n";

enum option_id {
    OPTION_PROTOCOL = 256,
    OPTION_SOCKET,
    OPTION_MIX,
    OPTION_DISTRIBUTION,
    OPTION_CONNECTIONS,
    OPTION_PIPELINE,
    OPTION_KEYS,
    OPTION_FIRST_KEY,
    OPTION_VALUE_BYTES,
    OPTION_SECONDS,
    OPTION_WARMUP,
    OPTION_OPERATIONS,
    OPTION_RATE,
    OPTION_ACK,
    OPTION_SEED,
    OPTION_CPU,
    OPTION_SPIN,
    OPTION_ECHO_REQUEST_BYTES,
    OPTION_ECHO_REPLY_BYTES,
};

static const struct option OPTIONS[] = {
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"mix", required_argument, NULL, OPTION_MIX},
    {"distribution", required_argument, NULL, OPTION_DISTRIBUTION},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"pipeline", required_argument, NULL, OPTION_PIPELINE},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"first-key", required_argument, NULL, OPTION_FIRST_KEY},
    {"value-bytes", required_argument, NULL, OPTION_VALUE_BYTES},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"operations", required_argument, NULL, OPTION_OPERATIONS},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"ack", required_argument, NULL, OPTION_ACK},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"spin", no_argument, NULL, OPTION_SPIN},
    {"echo-request-bytes", required_argument, NULL, OPTION_ECHO_REQUEST_BYTES},
    {"echo-reply-bytes", required_argument, NULL, OPTION_ECHO_REPLY_BYTES},
    {0},
};

struct echo_sizes {
    size_t request_bytes;
    size_t reply_bytes;
};

static _Noreturn void complain(void)
{
    fputs(USAGE, stderr);
    exit(2);
}

// Names. False: the option is a number.
static bool take_name(struct plan *plan, bool *has_distribution, int option, const char *text)
{
    switch (option) {
    case OPTION_PROTOCOL:
        plan->protocol = protocol_of_name(text);
        return true;
    case OPTION_MIX:
        plan->mix = mix_of_name(text);
        return true;
    case OPTION_DISTRIBUTION:
        *has_distribution = distribution_of_name(text, &plan->distribution);
        return true;
    case OPTION_SOCKET:
        plan->socket = text;
        return true;
    case OPTION_ACK:
        protocol_pgnear_set_ack(text);
        return true;
    case OPTION_SPIN:
        plan->spins = true;
        return true;
    default:
        return false;
    }
}

static void take_number(struct plan *plan, struct echo_sizes *echo, int option, const char *text)
{
    char *end = NULL;
    // An option that is none has no argument.
    double number = text == NULL ? 0 : strtod(text, &end);
    if (text == NULL || *text == '\0' || *end != '\0' || (number < 0 && option != OPTION_CPU)) {
        complain();
    }
    switch (option) {
    case OPTION_CONNECTIONS:
        plan->connections = (unsigned)number;
        break;
    case OPTION_PIPELINE:
        plan->pipeline = (unsigned)number;
        break;
    case OPTION_KEYS:
        plan->keys = (uint64_t)number;
        break;
    case OPTION_FIRST_KEY:
        plan->first_key = (uint64_t)number;
        break;
    case OPTION_VALUE_BYTES:
        plan->value_bytes = (size_t)number;
        break;
    case OPTION_SECONDS:
        plan->seconds = number;
        break;
    case OPTION_WARMUP:
        plan->warmup_seconds = number;
        break;
    case OPTION_OPERATIONS:
        plan->operations = (uint64_t)number;
        break;
    case OPTION_RATE:
        plan->rate = number;
        break;
    case OPTION_SEED:
        plan->seed = (uint64_t)number;
        break;
    case OPTION_CPU:
        plan->cpu = (int)number;
        break;
    case OPTION_ECHO_REQUEST_BYTES:
        echo->request_bytes = (size_t)number;
        break;
    case OPTION_ECHO_REPLY_BYTES:
        echo->reply_bytes = (size_t)number;
        break;
    default:
        complain();
    }
}

static bool is_whole(const struct plan *plan)
{
    return plan->protocol != NULL && plan->mix != NULL && plan->socket != NULL && plan->keys > 0 &&
           plan->connections > 0 && plan->connections <= CONNECTIONS_MAX && plan->pipeline > 0 &&
           plan->pipeline <= PIPELINE_MAX &&
           plan->value_bytes >= KEY_TEXT_BYTES + VALUE_HEADER_MAX &&
           (plan->mix->shares[OPERATION_SCAN] == 0 || plan->protocol->scan != NULL);
}

void plan_parse(struct plan *plan, int argc, char **argv)
{
    *plan = (struct plan){
        .mix = mix_of_name("get"),
        .connections = 1,
        .pipeline = 1,
        .keys = 10000,
        .value_bytes = 100,
        .seconds = 1,
        .warmup_seconds = 0.1,
        .seed = 1,
        .cpu = -1,
    };
    struct echo_sizes echo = {32, 120};
    bool has_distribution = false;
    int option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (!take_name(plan, &has_distribution, option, optarg)) {
            take_number(plan, &echo, option, optarg);
        }
    }
    if (optind != argc || !is_whole(plan)) {
        complain();
    }
    if (!has_distribution) {
        plan->distribution = plan->mix->distribution;
    }
    protocol_echo_set_sizes(echo.request_bytes, echo.reply_bytes);
}
