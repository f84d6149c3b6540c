// Bucket of a value: values below 64 have one each; above, the exponent of the highest bit chooses
// the row and the next six bits the bucket in it.
#include "load/hdr.h"

#include "base/check.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < HDR_SUB_COUNT) {
        return (unsigned)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HDR_SUB_BITS;
    unsigned row = shift + 1;
    if (row >= HDR_EXPONENTS) {
        return HDR_BUCKETS - 1;
    }
    return row * HDR_SUB_COUNT + (unsigned)((value >> shift) - HDR_SUB_COUNT);
}

static uint64_t upper_edge_of(unsigned bucket)
{
    unsigned row = bucket / HDR_SUB_COUNT;
    uint64_t sub = bucket % HDR_SUB_COUNT;
    if (row == 0) {
        return sub;
    }
    return ((sub + HDR_SUB_COUNT + 1) << (row - 1)) - 1;
}

void hdr_record(struct hdr *histogram, uint64_t value_ns)
{
    histogram->counts[bucket_of(value_ns)]++;
    histogram->total++;
    histogram->sum_ns += value_ns;
    if (value_ns > histogram->max_ns) {
        histogram->max_ns = value_ns;
    }
}

uint64_t hdr_quantile_ns(const struct hdr *histogram, double quantile)
{
    CHECK(quantile >= 0 && quantile <= 1);
    uint64_t rank = (uint64_t)(quantile * (double)histogram->total + 0.5);
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HDR_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > 0 && seen >= rank) {
            uint64_t edge = upper_edge_of(bucket);
            return edge < histogram->max_ns ? edge : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}

void hdr_print(const struct hdr *histogram, FILE *out)
{
    static const struct {
        const char *name;
        double quantile;
    } QUANTILES[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    double mean = histogram->total == 0 ? 0 : (double)histogram->sum_ns / (double)histogram->total;
    fprintf(out, "{\"count\": %llu, \"mean\": %.1f", (unsigned long long)histogram->total, mean);
    for (size_t i = 0; i < sizeof QUANTILES / sizeof *QUANTILES; i++) {
        fprintf(out, ", \"%s\": %llu", QUANTILES[i].name,
                (unsigned long long)hdr_quantile_ns(histogram, QUANTILES[i].quantile));
    }
    fprintf(out, ", \"max\": %llu, \"buckets\": [", (unsigned long long)histogram->max_ns);
    const char *comma = "";
    for (unsigned bucket = 0; bucket < HDR_BUCKETS; bucket++) {
        if (histogram->counts[bucket] > 0) {
            fprintf(out, "%s[%llu, %llu]", comma, (unsigned long long)upper_edge_of(bucket),
                    (unsigned long long)histogram->counts[bucket]);
            comma = ", ";
        }
    }
    fprintf(out, "]}");
}
