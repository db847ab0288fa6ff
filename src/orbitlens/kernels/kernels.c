/* Loops of a training step for which torch has no operation, or only a slower one.

   _compiler.py builds this file. Each thread of torch calls a function with the address of its
   arguments, all of eight bytes. One thread computes a whole row, so the number of threads does not
   change the results. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

struct pool {
    int (*thread)(void);
    int (*threads)(void);
};

/* The rows of this thread: from *first to before *last. */
static void share(const struct pool *pool, i64 rows, i64 *first, i64 *last) {
    i64 thread = pool->thread(), threads = pool->threads();
    *first = rows * thread / threads;
    *last = rows * (thread + 1) / threads;
}

/* ---- Products with a sparse matrix. The speed depends on how many reads of rows at random places
   run at once, so four entries are processed together. ---- */

struct sums {
    struct pool pool;
    i64 rows, dim;
    const i64 *starts, *columns;
    const float *values, *vectors;
    float *sums;
};

/* S W: for each row the sum of values[e] W[column of e]. */
void weighted_sums(const struct sums *a) {
    i64 first, last, dim = a->dim;
    share(&a->pool, a->rows, &first, &last);
    for (i64 row = first; row < last; row++) {
        float *restrict sum = a->sums + row * dim;
        i64 e = a->starts[row], end = a->starts[row + 1];
        memset(sum, 0, dim * sizeof(float));
        for (; e + 4 <= end; e += 4) {
            const i64 *c = a->columns + e;
            const float *v = a->values + e;
            const float *p = a->vectors + c[0] * dim, *q = a->vectors + c[1] * dim;
            const float *r = a->vectors + c[2] * dim, *s = a->vectors + c[3] * dim;
            for (i64 i = 0; i < dim; i++)
                sum[i] += v[0] * p[i] + v[1] * q[i] + v[2] * r[i] + v[3] * s[i];
        }
        for (; e < end; e++) {
            const float *p = a->vectors + a->columns[e] * dim, v = a->values[e];
            for (i64 i = 0; i < dim; i++)
                sum[i] += v * p[i];
        }
    }
}

struct products {
    struct pool pool;
    i64 rows, dim;
    const i64 *starts, *columns;
    const float *left, *right;
    float *products;
};

/* <X_r, W_c> at every entry. */
void entry_products(const struct products *a) {
    i64 first, last, dim = a->dim;
    share(&a->pool, a->rows, &first, &last);
    for (i64 row = first; row < last; row++) {
        const float *x = a->left + row * dim;
        i64 e = a->starts[row], end = a->starts[row + 1];
        for (; e + 4 <= end; e += 4) {
            const i64 *c = a->columns + e;
            const float *p = a->right + c[0] * dim, *q = a->right + c[1] * dim;
            const float *r = a->right + c[2] * dim, *s = a->right + c[3] * dim;
            float of_p = 0, of_q = 0, of_r = 0, of_s = 0;
            for (i64 i = 0; i < dim; i++) {
                of_p += x[i] * p[i];
                of_q += x[i] * q[i];
                of_r += x[i] * r[i];
                of_s += x[i] * s[i];
            }
            float *products = a->products + e;
            products[0] = of_p, products[1] = of_q, products[2] = of_r, products[3] = of_s;
        }
        for (; e < end; e++) {
            const float *p = a->right + a->columns[e] * dim;
            float of_p = 0;
            for (i64 i = 0; i < dim; i++)
                of_p += x[i] * p[i];
            a->products[e] = of_p;
        }
    }
}

struct across {
    struct pool pool;
    i64 rows, width;
    const i64 *starts, *columns;
    i64 *column_starts, *order, *entry_rows;
};

/* The entries column after column, in their order within each. One thread does this small job;
   column_starts is zero at first. */
void across(const struct across *a) {
    if (a->pool.thread() != 0)
        return;
    i64 entries = a->starts[a->rows], *next = malloc((a->width + 1) * sizeof(i64));
    for (i64 e = 0; e < entries; e++)
        a->column_starts[a->columns[e] + 1]++;
    for (i64 column = 0; column < a->width; column++) {
        a->column_starts[column + 1] += a->column_starts[column];
        next[column] = a->column_starts[column];
    }
    for (i64 row = 0; row < a->rows; row++)
        for (i64 e = a->starts[row]; e < a->starts[row + 1]; e++) {
            i64 place = next[a->columns[e]]++;
            a->order[place] = e, a->entry_rows[place] = row;
        }
    free(next);
}

/* ---- The largest pre-activations. The biases are not in the blocks and are added here. ---- */

enum { GROUP = 16, LOOSE = 8, HALVINGS = 32 };

/* A buffer for a row, padded to whole groups with numbers that are never found. */
static float *room(i64 width) {
    i64 padded = (width + GROUP - 1) / GROUP * GROUP;
    float *sums = aligned_alloc(64, (padded * sizeof(float) + 63) / 64 * 64);
    const uint32_t minus_infinity = 0xff800000;
    for (i64 i = width; i < padded; i++)
        memcpy(sums + i, &minus_infinity, sizeof(float));
    return sums;
}

/* Add the biases to a row of float32, or of bfloat16, which is the upper half of a float32. */
static void load(const void *block, i64 half, i64 start, i64 width, const float *restrict bias,
                 float *restrict sums) {
    if (half) {
        const uint16_t *own = (const uint16_t *)block + start;
        for (i64 i = 0; i < width; i++) {
            uint32_t bits = (uint32_t)own[i] << 16;
            float wide;
            memcpy(&wide, &bits, sizeof wide);
            sums[i] = wide + bias[i];
        }
    } else {
        const float *own = (const float *)block + start;
        for (i64 i = 0; i < width; i++)
            sums[i] = own[i] + bias[i];
    }
}

/* Integers in the order of float32, and back. */
static int32_t rank_of(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >= 0 ? bits : INT32_MIN - bits;
}

static float of_rank(int32_t rank) {
    int32_t bits = rank >= 0 ? rank : INT32_MIN - rank;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A large bound that k numbers reach, and at most `spare` others if possible. It halves an interval
   in the order of float32, not in their values. */
static float bound_of(const float *values, i64 count, i64 k, i64 spare) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (i64 i = 0; i < count; i++) {
        int32_t rank = rank_of(values[i]);
        low = rank < low ? rank : low;
        high = rank > high ? rank : high;
    }
    for (int halving = 0; halving < HALVINGS && low < high; halving++) {
        int32_t middle = (int32_t)(((i64)low + high + 1) >> 1), reached = 0;
        float bound = of_rank(middle);
        for (i64 i = 0; i < count; i++)
            reached += values[i] >= bound;
        if (reached < k) {
            high = middle - 1;
            continue;
        }
        low = middle;
        if (reached <= k + spare)
            break;
    }
    return of_rank(low);
}

/* Keep the k largest, in their order; of equal ones the first. */
static i64 reduce(float *found, i64 *found_at, i64 count, i64 k) {
    float bound = bound_of(found, count, k, 0);
    i64 ties = k, kept = 0;
    for (i64 i = 0; i < count; i++)
        ties -= found[i] > bound;
    for (i64 i = 0; i < count; i++) {
        int tied = found[i] == bound && ties > 0;
        ties -= tied;
        found[kept] = found[i], found_at[kept] = found_at[i];
        kept += (tied || found[i] > bound) && kept < k;
    }
    return kept;
}

/* The largest of each group. Processors have an instruction for this that ignores NaNs. The result
   for a group with NaNs does not matter, since each of its numbers is compared again. */
__attribute__((optimize("finite-math-only"))) static void
maxima_of(const float *restrict sums, i64 groups, float *restrict maxima) {
    for (i64 group = 0; group < groups; group++) {
        float most = sums[group * GROUP];
        for (i64 i = 1; i < GROUP; i++)
            most = sums[group * GROUP + i] > most ? sums[group * GROUP + i] : most;
        maxima[group] = most;
    }
}

struct search {
    struct pool pool;
    i64 rows, width, half, k, members, before;
    const void *block;
    const float *biases;
    float *values;
    i64 *places;
};

/* Update the k largest numbers of every row with a block.

   At least k numbers reach a bound that k of the groups' maxima reach, and few more if there are
   groups enough; so only groups whose maximum reaches the bound are looked at again. Once k numbers
   are known, the least of them is the bound, and most groups are passed over. */
void keep_largest(const struct search *a) {
    i64 first, last, k = a->k, width = a->width, groups = (width + GROUP - 1) / GROUP;
    share(&a->pool, a->rows, &first, &last);
    float *sums = room(width), *maxima = malloc(groups * sizeof(float));
    /* A number is written before it is compared. */
    float *found = malloc((k + groups * GROUP + 1) * sizeof(float));
    i64 *found_at = malloc((k + groups * GROUP + 1) * sizeof(i64));
    for (i64 row = first; row < last; row++) {
        float *values = a->values + row * k, bound;
        i64 *places = a->places + row * k, count = 0;
        load(a->block, a->half, row * width, width, a->biases + row * a->members / a->rows * width,
             sums);
        maxima_of(sums, groups, maxima);
        if (a->before) {
            memcpy(found, values, k * sizeof(float));
            memcpy(found_at, places, k * sizeof(i64));
            count = k;
            bound = values[0];
            for (i64 i = 1; i < k; i++)
                bound = values[i] < bound ? values[i] : bound;
        } else {
            bound = bound_of(maxima, groups, k, k / LOOSE);
        }
        for (i64 group = 0; group < groups; group++) {
            if (maxima[group] >= bound)
                for (i64 at = group * GROUP; at < (group + 1) * GROUP; at++) {
                    found[count] = sums[at], found_at[count] = a->before + at;
                    count += (sums[at] >= bound) & (at < width);
                }
        }
        if (count > k)
            count = reduce(found, found_at, count, k);
        memcpy(values, found, count * sizeof(float));
        memcpy(places, found_at, count * sizeof(i64));
        /* NaN compares with nothing: the rest is NaN, at a place that exists. */
        memset(values + count, 0xff, (k - count) * sizeof(float));
        memset(places + count, 0, (k - count) * sizeof(i64));
    }
    free(sums), free(maxima), free(found), free(found_at);
}

struct above {
    struct pool pool;
    i64 rows, width, half;
    const void *block;
    const float *biases, *floor;
    i64 *counts;
    const i64 *starts;
    float *values;
    i64 *columns;
};

/* Count the numbers of each row above a floor. */
void count_above(const struct above *a) {
    i64 first, last;
    share(&a->pool, a->rows, &first, &last);
    float *sums = room(a->width), floor = *a->floor;
    for (i64 row = first; row < last; row++) {
        int32_t count = 0;
        load(a->block, a->half, row * a->width, a->width, a->biases, sums);
        for (i64 i = 0; i < a->width; i++)
            count += sums[i] > floor;
        a->counts[row] = count;
    }
    free(sums);
}

/* Write these numbers and their columns, each row from its start. */
void write_above(const struct above *a) {
    i64 first, last;
    share(&a->pool, a->rows, &first, &last);
    float *sums = room(a->width), floor = *a->floor;
    for (i64 row = first; row < last; row++) {
        i64 at = a->starts[row], end = at + a->counts[row];
        load(a->block, a->half, row * a->width, a->width, a->biases, sums);
        for (i64 group = 0; group < a->width && at < end; group += GROUP) {
            int here = 0;
            for (i64 i = group; i < group + GROUP; i++)
                here += sums[i] > floor;
            for (i64 i = group; here; i++)
                if (sums[i] > floor)
                    a->values[at] = sums[i], a->columns[at++] = i, here--;
        }
    }
    free(sums);
}
