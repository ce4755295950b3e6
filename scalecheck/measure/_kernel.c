/* The counting pass in C: what numpy cannot do in one go over a block that lies in the cache.
 * Handed buffers whose sizes and alignment it checks; parses nothing, keeps nothing, and releases
 * the interpreter while it works. numpy_kernel.py is the same in numpy, and says what it computes. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian: the numpy kernel serves this machine"
#endif

/* Neighbouring words go to different tables: a constant tensor would otherwise wait for its own
 * last store on every element. */
enum { COUNT_LANES = 4, KEY_LANES = 2, SUM_LANES = 8, EXTREME_LANES = 16, STRIDE = 64 };

/* The shift is the mean of the first 1/64: it keeps Σ(x−shift)² within a factor 64 of the true
 * second moment, so that no more than two digits of a double can cancel. */
enum { PILOT = 64 };

/* Wider vectors where the machine has them. The lanes are fixed and nothing is contracted into
 * fused multiply-adds, so the sums are the same to the last bit on either path. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define WIDEST_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST_VECTORS
#endif

typedef struct {
    double low, high, shift, sum, square; /* of (x − shift)·2^−exponent over finite x */
    int64_t nan, inf, zeros;
    int exponent;
} Moments;

static void count8(const uint8_t *words, size_t n, uint32_t *table)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        table[words[i]]++;
        table[256 + words[i + 1]]++;
        table[512 + words[i + 2]]++;
        table[768 + words[i + 3]]++;
    }
    for (; i < n; i++)
        table[words[i]]++;
}

static void count16(const uint16_t *words, size_t n, uint32_t *table)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t four;
        memcpy(&four, words + i, sizeof four);
        table[four & 0xffff]++;
        table[0x10000 + ((four >> 16) & 0xffff)]++;
        table[0x20000 + ((four >> 32) & 0xffff)]++;
        table[0x30000 + (four >> 48)]++;
    }
    for (; i < n; i++)
        table[words[i]]++;
}

/* Masked: for float64, and for blocks of float32 with NaN or inf. */
#define DEFINE_MOMENTS(NAME, TYPE)                                                                 \
    static void NAME(const TYPE *words, size_t n, Moments *m)                                      \
    {                                                                                              \
        double low = INFINITY, high = -INFINITY;                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            double x = (double)words[i];                                                           \
            m->nan += x != x;                                                                      \
            m->inf += isinf(x) != 0;                                                               \
            m->zeros += x == 0;                                                                    \
            if (isfinite(x)) {                                                                     \
                low = x < low ? x : low;                                                           \
                high = x > high ? x : high;                                                        \
            }                                                                                      \
        }                                                                                          \
        m->low = low;                                                                              \
        m->high = high;                                                                            \
        double largest = fmax(fabs(low), fabs(high));                                              \
        m->exponent = 0; /* squares of float64 leave its range beyond 2^±511 */                    \
        if (isfinite(largest) && largest > 0 && (largest > 0x1p400 || largest < 0x1p-400))         \
            m->exponent = ilogb(largest);                                                          \
        double half = ldexp(1.0, -(m->exponent / 2));                                              \
        double rest = ldexp(1.0, -(m->exponent - m->exponent / 2));                                \
        size_t pilot = n < PILOT ? n : n / PILOT, seen = 0;                                        \
        double shift = 0;                                                                          \
        for (size_t i = 0; i < pilot; i++) {                                                       \
            double x = (double)words[i];                                                           \
            if (isfinite(x)) {                                                                     \
                shift += x * half * rest;                                                          \
                seen++;                                                                            \
            }                                                                                      \
        }                                                                                          \
        m->shift = seen ? shift / (double)seen : 0;                                                \
        double sum[SUM_LANES] = {0}, square[SUM_LANES] = {0};                                      \
        for (size_t i = 0; i < n; i++) {                                                           \
            double x = (double)words[i];                                                           \
            if (isfinite(x)) {                                                                     \
                double d = x * half * rest - m->shift;                                             \
                sum[i % SUM_LANES] += d;                                                           \
                square[i % SUM_LANES] += d * d;                                                    \
            }                                                                                      \
        }                                                                                          \
        for (int lane = 0; lane < SUM_LANES; lane++) {                                             \
            m->sum += sum[lane];                                                                   \
            m->square += square[lane];                                                             \
        }                                                                                          \
    }

DEFINE_MOMENTS(moments_f32, float)
DEFINE_MOMENTS(moments_f64, double)

static int64_t with_key(const uint32_t *table, size_t key)
{
    return (int64_t)table[key] + table[0x8000 + key] + table[0x10000 + key] + table[0x18000 + key];
}

static int64_t nonfinite_f32(const uint32_t *table)
{
    int64_t total = 0;
    for (size_t key = 0x7f80; key < 0x8000; key++)
        total += with_key(table, key);
    return total;
}

/* One walk: the counting is bound by loads and stores, the sums by arithmetic, and they overlap. */
WIDEST_VECTORS
static void leading_f32(const float *restrict words, size_t n, uint32_t *restrict table, Moments *m)
{
    int64_t nonfinite = nonfinite_f32(table), tiny = with_key(table, 0);
    double sum[SUM_LANES] = {0}, square[SUM_LANES] = {0}, shift = 0;
    float low[EXTREME_LANES], high[EXTREME_LANES];
    size_t whole = n - n % STRIDE, pilot = n < PILOT ? n : n / PILOT;
    for (size_t i = 0; i < pilot; i++)
        shift += words[i];
    shift = pilot ? shift / (double)pilot : 0;
    for (int lane = 0; lane < EXTREME_LANES; lane++) {
        low[lane] = INFINITY;
        high[lane] = -INFINITY;
    }
    for (size_t i = 0; i < whole; i += STRIDE) {
        const float *restrict w = words + i;
        for (int j = 0; j < STRIDE; j += 4) {
            uint64_t one, two;
            memcpy(&one, w + j, sizeof one);
            memcpy(&two, w + j + 2, sizeof two);
            table[(one >> 16) & 0xffff]++;
            table[0x10000 + (one >> 48)]++;
            table[(two >> 16) & 0xffff]++;
            table[0x10000 + (two >> 48)]++;
        }
        for (int j = 0; j < STRIDE; j += EXTREME_LANES)
            for (int lane = 0; lane < EXTREME_LANES; lane++) {
                float x = w[j + lane];
                low[lane] = x < low[lane] ? x : low[lane];
                high[lane] = x > high[lane] ? x : high[lane];
            }
        double d[STRIDE];
        for (int j = 0; j < STRIDE; j++)
            d[j] = (double)w[j] - shift;
        for (int j = 0; j < STRIDE; j += SUM_LANES)
            for (int lane = 0; lane < SUM_LANES; lane++)
                sum[lane] += d[j + lane];
        for (int j = 0; j < STRIDE; j += SUM_LANES)
            for (int lane = 0; lane < SUM_LANES; lane++)
                square[lane] += d[j + lane] * d[j + lane];
    }
    for (size_t i = whole; i < n; i++) {
        uint32_t word;
        memcpy(&word, words + i, sizeof word);
        table[word >> 16]++;
        double d = words[i] - shift;
        sum[0] += d;
        square[0] += d * d;
        low[0] = words[i] < low[0] ? words[i] : low[0];
        high[0] = words[i] > high[0] ? words[i] : high[0];
    }
    if (nonfinite_f32(table) != nonfinite) {
        moments_f32(words, n, m);
        return;
    }
    if (with_key(table, 0) != tiny)
        for (size_t i = 0; i < n; i++)
            m->zeros += words[i] == 0;
    m->shift = shift;
    m->low = INFINITY;
    m->high = -INFINITY;
    for (int lane = 0; lane < SUM_LANES; lane++) {
        m->sum += sum[lane];
        m->square += square[lane];
    }
    for (int lane = 0; lane < EXTREME_LANES; lane++) {
        m->low = fmin(m->low, low[lane]);
        m->high = fmax(m->high, high[lane]);
    }
}

/* The codes of each tile, counted: tiles are `height` rows of `width` codes, the first ones across
 * and down shorter. `table` has 256 counts a tile. */
static void count_in_tiles(const uint8_t *codes, size_t rows, size_t columns, size_t first_height,
                           size_t height, size_t first_width, size_t width, uint32_t *table)
{
    size_t top = 0;
    for (size_t bottom = first_height; top < rows; bottom += height) {
        bottom = bottom < rows ? bottom : rows;
        size_t left = 0;
        for (size_t right = first_width; left < columns; right += width) {
            right = right < columns ? right : columns;
            uint32_t lanes[COUNT_LANES * 256] = {0};
            if (right - left == columns)
                count8(codes + top * columns, (bottom - top) * columns, lanes);
            else
                for (size_t row = top; row < bottom; row++)
                    count8(codes + row * columns + left, right - left, lanes);
            for (int code = 0; code < 256; code++)
                table[code] += lanes[code] + lanes[256 + code] + lanes[512 + code] + lanes[768 + code];
            table += 256;
            left = right;
        }
        top = bottom;
    }
}

/* What counted codes stand for: values[code]·scale + shift, the factors of its tile. */
static double number_of(const double *values, const double *scales, const double *shifts, size_t tile,
                        int code)
{
    double x = values[code] * scales[tile];
    return shifts ? x + shifts[tile] : x;
}

/* Adds up m->sum and m->square, of numbers over 2^exponent. */
static void sums_of_tiles(const uint32_t *counts, size_t tiles, const double *values,
                          const double *scales, const double *shifts, Moments *m)
{
    double half = ldexp(1.0, -(m->exponent / 2));
    double rest = ldexp(1.0, -(m->exponent - m->exponent / 2));
    m->shift = m->shift * half * rest;
    for (size_t tile = 0; tile < tiles; tile++)
        for (int code = 0; code < 256; code++) {
            uint32_t n = counts[256 * tile + code];
            double x = n ? number_of(values, scales, shifts, tile, code) : NAN;
            if (isfinite(x)) {
                double d = x * half * rest - m->shift;
                m->sum += n * d;
                m->square += n * (d * d);
            }
        }
}

/* The mean of the first tile that has one within a double's range. */
static double mean_of_a_tile(const uint32_t *counts, size_t tiles, const double *values,
                             const double *scales, const double *shifts)
{
    for (size_t tile = 0; tile < tiles; tile++) {
        double sum = 0, seen = 0;
        for (int code = 0; code < 256; code++) {
            double x = number_of(values, scales, shifts, tile, code);
            uint32_t n = isfinite(x) ? counts[256 * tile + code] : 0;
            if (n)
                sum += (x - sum) * (n / (seen + n));
            seen += n;
        }
        if (seen && isfinite(sum))
            return sum;
    }
    return 0;
}

static void moments_of_tiles(const uint32_t *counts, size_t tiles, const double *values,
                             const double *scales, const double *shifts, uint32_t *table, Moments *m)
{
    m->low = INFINITY;
    m->high = -INFINITY;
    m->shift = mean_of_a_tile(counts, tiles, values, scales, shifts);
    for (size_t tile = 0; tile < tiles; tile++) {
        double sum = 0, square = 0;
        for (int code = 0; code < 256; code++) {
            uint32_t n = counts[256 * tile + code];
            if (!n)
                continue;
            double x = number_of(values, scales, shifts, tile, code);
            uint64_t bits;
            memcpy(&bits, &x, sizeof bits);
            table[bits >> 44] += n;
            m->zeros += x == 0 ? n : 0;
            if (isfinite(x)) {
                double d = x - m->shift;
                m->low = x < m->low ? x : m->low;
                m->high = x > m->high ? x : m->high;
                sum += n * d;
                square += n * (d * d);
            } else {
                m->nan += x != x ? n : 0;
                m->inf += x == x ? n : 0;
            }
        }
        m->sum += sum;
        m->square += square;
    }
    double largest = fmax(fabs(m->low), fabs(m->high));
    if (isfinite(largest) && largest > 0 && (largest > 0x1p400 || largest < 0x1p-400)) {
        m->exponent = ilogb(largest);
        m->sum = m->square = 0;
        sums_of_tiles(counts, tiles, values, scales, shifts, m);
    }
}

static void leading_f64(const double *words, size_t n, uint32_t *table)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, words + i, sizeof bits);
        table[bits >> 44]++;
    }
}

typedef struct {
    double before, after, product, difference, top; /* Σa², Σb², Σab, Σ(b−a)², max|b−a|, scaled */
    int64_t changed, non_finite;                     /* non_finite: a or b is NaN or inf */
    int exponent;
} Change;

static double from_bf16(uint16_t word)
{
    uint32_t bits = (uint32_t)word << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Finite numbers of float32's range, whose squares and their sums a double holds; false where the
 * sums say that there were others. */
#define DEFINE_CHANGE_FINITE(NAME, TYPE, DECODE)                                                   \
    WIDEST_VECTORS                                                                                 \
    static int NAME(const TYPE *restrict before, const TYPE *restrict after, size_t n, Change *c)  \
    {                                                                                              \
        double aa[SUM_LANES] = {0}, bb[SUM_LANES] = {0}, ab[SUM_LANES] = {0};                      \
        double dd[SUM_LANES] = {0}, top[SUM_LANES] = {0};                                          \
        int64_t changed = 0;                                                                       \
        size_t whole = n - n % STRIDE;                                                             \
        for (size_t i = 0; i < whole; i += STRIDE) {                                               \
            double a[STRIDE], b[STRIDE];                                                           \
            int differ = 0;                                                                        \
            for (int j = 0; j < STRIDE; j++)                                                       \
                a[j] = DECODE(before[i + j]);                                                      \
            for (int j = 0; j < STRIDE; j++)                                                       \
                b[j] = DECODE(after[i + j]);                                                       \
            for (int j = 0; j < STRIDE; j++)                                                       \
                differ += a[j] != b[j];                                                            \
            changed += differ;                                                                     \
            for (int j = 0; j < STRIDE; j += SUM_LANES)                                            \
                for (int lane = 0; lane < SUM_LANES; lane++) {                                     \
                    double x = a[j + lane], y = b[j + lane], d = y - x, size = fabs(d);            \
                    aa[lane] += x * x;                                                             \
                    bb[lane] += y * y;                                                             \
                    ab[lane] += x * y;                                                             \
                    dd[lane] += d * d;                                                             \
                    top[lane] = size > top[lane] ? size : top[lane];                               \
                }                                                                                  \
        }                                                                                          \
        for (size_t i = whole; i < n; i++) {                                                       \
            double x = DECODE(before[i]), y = DECODE(after[i]), d = y - x;                         \
            changed += x != y;                                                                     \
            aa[0] += x * x;                                                                        \
            bb[0] += y * y;                                                                        \
            ab[0] += x * y;                                                                        \
            dd[0] += d * d;                                                                        \
            top[0] = fabs(d) > top[0] ? fabs(d) : top[0];                                          \
        }                                                                                          \
        *c = (Change){.changed = changed};                                                         \
        for (int lane = 0; lane < SUM_LANES; lane++) {                                             \
            c->before += aa[lane];                                                                 \
            c->after += bb[lane];                                                                  \
            c->product += ab[lane];                                                                \
            c->difference += dd[lane];                                                             \
            c->top = fmax(c->top, top[lane]);                                                      \
        }                                                                                          \
        return isfinite(c->before) && isfinite(c->after);                                          \
    }

DEFINE_CHANGE_FINITE(change_finite_bf16, uint16_t, from_bf16)
DEFINE_CHANGE_FINITE(change_finite_f32, float, (double))

/* Any numbers: those that are not finite are left out of the sums. */
#define DEFINE_CHANGE(NAME, TYPE, DECODE)                                                          \
    static void NAME(const TYPE *before, const TYPE *after, size_t n, Change *c)                   \
    {                                                                                              \
        double largest = 0;                                                                        \
        *c = (Change){0};                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            double a = DECODE(before[i]), b = DECODE(after[i]);                                    \
            c->changed += a != b && (a == a || b == b); /* NaN beside NaN is no change */          \
            if (isfinite(a) && isfinite(b))                                                        \
                largest = fmax(largest, fmax(fabs(a), fabs(b)));                                   \
            else                                                                                   \
                c->non_finite++;                                                                   \
        }                                                                                          \
        if (largest > 0x1p400 || (largest > 0 && largest < 0x1p-400))                              \
            c->exponent = ilogb(largest);                                                          \
        double half = ldexp(1.0, -(c->exponent / 2));                                              \
        double rest = ldexp(1.0, -(c->exponent - c->exponent / 2));                                \
        for (size_t i = 0; i < n; i++) {                                                           \
            double a = DECODE(before[i]), b = DECODE(after[i]);                                    \
            if (isfinite(a) && isfinite(b)) {                                                      \
                a = a * half * rest;                                                               \
                b = b * half * rest;                                                               \
                c->before += a * a;                                                                \
                c->after += b * b;                                                                 \
                c->product += a * b;                                                               \
                c->difference += (b - a) * (b - a);                                                \
                c->top = fmax(c->top, fabs(b - a));                                                \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_CHANGE(change_bf16, uint16_t, from_bf16)
DEFINE_CHANGE(change_f32, float, (double))
DEFINE_CHANGE(change_f64, double, (double))

static void release(Py_buffer views[2])
{
    PyBuffer_Release(&views[0]);
    PyBuffer_Release(&views[1]);
}

/* Acquires the words, and a table of 32-bit counts or, where `nbytes` is 0, as many words more.
 * Otherwise sets ValueError and returns -1 with neither held. */
static int acquire(PyObject *args[2], size_t itemsize, size_t nbytes, Py_buffer views[2])
{
    if (PyObject_GetBuffer(args[0], &views[0], PyBUF_SIMPLE) < 0)
        return -1;
    if (PyObject_GetBuffer(args[1], &views[1], nbytes ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&views[0]);
        return -1;
    }
    size_t expected = nbytes ? nbytes : (size_t)views[0].len;
    if ((size_t)views[1].len != expected || (size_t)views[0].len % itemsize != 0 ||
        (uintptr_t)views[0].buf % itemsize != 0 ||
        (uintptr_t)views[1].buf % (nbytes ? sizeof(uint32_t) : itemsize) != 0) {
        PyErr_Format(PyExc_ValueError,
                     "%zd bytes of words of %zu bytes with %zd bytes, not %zu, or a buffer that is "
                     "not aligned",
                     views[0].len, itemsize, views[1].len, expected);
        release(views);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(count_doc,
             "count(words, itemsize, table): adds the counts of 1- or 2-byte words to the table.");

static PyObject *count(PyObject *module, PyObject *args)
{
    PyObject *buffers[2];
    Py_buffer views[2];
    int itemsize;
    (void)module;
    if (!PyArg_ParseTuple(args, "OiO", &buffers[0], &itemsize, &buffers[1]))
        return NULL;
    if (itemsize != 1 && itemsize != 2) {
        PyErr_Format(PyExc_ValueError, "words of %d bytes are not counted one by one", itemsize);
        return NULL;
    }
    size_t keys = itemsize == 1 ? 0x100 : 0x10000;
    if (acquire(buffers, (size_t)itemsize, COUNT_LANES * keys * sizeof(uint32_t), views) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (itemsize == 1)
        count8(views[0].buf, (size_t)views[0].len, views[1].buf);
    else
        count16(views[0].buf, (size_t)views[0].len / 2, views[1].buf);
    Py_END_ALLOW_THREADS
    release(views);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(moments_doc,
             "moments(words, kind, table) -> (nan, inf, zeros, low, high, exponent, shift, sum, "
             "square): adds the counts by leading bits to the table and sums a block of floats.");

static PyObject *moments(PyObject *module, PyObject *args)
{
    PyObject *buffers[2];
    Py_buffer views[2];
    const char *kind;
    Moments m = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OsO", &buffers[0], &kind, &buffers[1]))
        return NULL;
    if (strcmp(kind, "f4") != 0 && strcmp(kind, "f8") != 0) {
        PyErr_Format(PyExc_ValueError, "no moments of words of kind %s", kind);
        return NULL;
    }
    size_t itemsize = (size_t)(kind[1] - '0');
    size_t keys = itemsize == 4 ? KEY_LANES * (size_t)0x10000 : (size_t)0x100000;
    if (acquire(buffers, itemsize, keys * sizeof(uint32_t), views) < 0)
        return NULL;
    size_t n = (size_t)views[0].len / itemsize;
    const void *words = views[0].buf;
    uint32_t *table = views[1].buf;
    Py_BEGIN_ALLOW_THREADS
    if (itemsize == 4) {
        leading_f32(words, n, table, &m);
    } else {
        leading_f64(words, n, table);
        moments_f64(words, n, &m);
    }
    Py_END_ALLOW_THREADS
    release(views);
    return Py_BuildValue("LLLddiddd", (long long)m.nan, (long long)m.inf, (long long)m.zeros, m.low,
                         m.high, m.exponent, m.shift, m.sum, m.square);
}

PyDoc_STRVAR(change_doc,
             "change(before, after, kind) -> (changed, non_finite, exponent, before, after, product, "
             "difference, top): sums over two blocks of words of one kind, side by side.");

static PyObject *change(PyObject *module, PyObject *args)
{
    PyObject *buffers[2];
    Py_buffer views[2];
    const char *kind;
    Change c = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOs", &buffers[0], &buffers[1], &kind))
        return NULL;
    if (strcmp(kind, "b2") != 0 && strcmp(kind, "f4") != 0 && strcmp(kind, "f8") != 0) {
        PyErr_Format(PyExc_ValueError, "no change of words of kind %s", kind);
        return NULL;
    }
    size_t itemsize = (size_t)(kind[1] - '0');
    if (acquire(buffers, itemsize, 0, views) < 0)
        return NULL;
    size_t n = (size_t)views[0].len / itemsize;
    const void *before = views[0].buf, *after = views[1].buf;
    Py_BEGIN_ALLOW_THREADS
    if (itemsize == 8)
        change_f64(before, after, n, &c);
    else if (itemsize == 4 && !change_finite_f32(before, after, n, &c))
        change_f32(before, after, n, &c);
    else if (itemsize == 2 && !change_finite_bf16(before, after, n, &c))
        change_bf16(before, after, n, &c);
    Py_END_ALLOW_THREADS
    release(views);
    return Py_BuildValue("LLiddddd", (long long)c.changed, (long long)c.non_finite, c.exponent, c.before,
                         c.after, c.product, c.difference, c.top);
}

/* Acquires a buffer of so many elements of a size, −1 for any number. Otherwise sets ValueError and
 * returns −1. */
static int hold(PyObject *object, Py_ssize_t count, size_t itemsize, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, flags) < 0)
        return -1;
    if ((count >= 0 && view->len != count * (Py_ssize_t)itemsize) ||
        (size_t)view->len % itemsize != 0 || (uintptr_t)view->buf % itemsize != 0) {
        PyErr_Format(PyExc_ValueError, "%zd bytes, not %zd elements of %zu, or not aligned", view->len,
                     count, itemsize);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(count_tiles_doc,
             "count_tiles(codes, columns, heights, widths, table): adds the counts of the codes of "
             "each tile to the table.");

static PyObject *count_tiles(PyObject *module, PyObject *args)
{
    PyObject *buffers[2];
    Py_buffer codes, table;
    Py_ssize_t columns, heights[2], widths[2];
    (void)module;
    if (!PyArg_ParseTuple(args, "On(nn)(nn)O", &buffers[0], &columns, &heights[0], &heights[1],
                          &widths[0], &widths[1], &buffers[1]))
        return NULL;
    if (columns < 1 || heights[0] < 1 || heights[1] < heights[0] || widths[0] < 1 ||
        widths[1] < widths[0]) {
        PyErr_SetString(PyExc_ValueError, "tiles of no size, or a first one that is larger");
        return NULL;
    }
    if (hold(buffers[0], -1, 1, PyBUF_SIMPLE, &codes) < 0)
        return NULL;
    Py_ssize_t rows = codes.len / columns;
    Py_ssize_t down = rows > heights[0] ? 1 + (rows - heights[0] - 1) / heights[1] + 1 : rows > 0;
    Py_ssize_t across = columns > widths[0] ? 1 + (columns - widths[0] - 1) / widths[1] + 1 : 1;
    if (codes.len % columns != 0 || down > PY_SSIZE_T_MAX / 1024 / across) {
        PyErr_Format(PyExc_ValueError, "%zd codes in rows of %zd", codes.len, columns);
        PyBuffer_Release(&codes);
        return NULL;
    }
    if (hold(buffers[1], down * across * 256, sizeof(uint32_t), PyBUF_WRITABLE, &table) < 0) {
        PyBuffer_Release(&codes);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    count_in_tiles(codes.buf, (size_t)rows, (size_t)columns, (size_t)heights[0], (size_t)heights[1],
                   (size_t)widths[0], (size_t)widths[1], table.buf);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&codes);
    PyBuffer_Release(&table);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tile_moments_doc,
             "tile_moments(counts, values, scales, shifts, table) -> as moments: of the numbers "
             "values[code]*scale + shift of counted codes, with the factors of each tile.");

static PyObject *tile_moments(PyObject *module, PyObject *args)
{
    PyObject *objects[5];
    Py_buffer scales, rest[4]; /* rest: counts, values, table, and shifts where there are some */
    Moments m = {0};
    int held = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO", &objects[0], &objects[1], &objects[2], &objects[3],
                          &objects[4]))
        return NULL;
    if (hold(objects[2], -1, sizeof(double), PyBUF_SIMPLE, &scales) < 0)
        return NULL;
    Py_ssize_t tiles = scales.len / (Py_ssize_t)sizeof(double);
    int is_shifted = objects[3] != Py_None;
    if (hold(objects[0], 256 * tiles, sizeof(uint32_t), PyBUF_SIMPLE, &rest[0]) == 0 && ++held &&
        hold(objects[1], 256, sizeof(double), PyBUF_SIMPLE, &rest[1]) == 0 && ++held &&
        hold(objects[4], 0x100000, sizeof(uint32_t), PyBUF_WRITABLE, &rest[2]) == 0 && ++held &&
        is_shifted && hold(objects[3], tiles, sizeof(double), PyBUF_SIMPLE, &rest[3]) == 0)
        held++;
    if (held == 3 + is_shifted) {
        Py_BEGIN_ALLOW_THREADS
        moments_of_tiles(rest[0].buf, (size_t)tiles, rest[1].buf, scales.buf,
                         is_shifted ? rest[3].buf : NULL, rest[2].buf, &m);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&scales);
    for (int i = 0; i < held; i++)
        PyBuffer_Release(&rest[i]);
    if (held < 3 + is_shifted)
        return NULL;
    return Py_BuildValue("LLLddiddd", (long long)m.nan, (long long)m.inf, (long long)m.zeros, m.low,
                         m.high, m.exponent, m.shift, m.sum, m.square);
}

static PyMethodDef functions[] = {
    {"count", count, METH_VARARGS, count_doc},
    {"moments", moments, METH_VARARGS, moments_doc},
    {"change", change, METH_VARARGS, change_doc},
    {"count_tiles", count_tiles, METH_VARARGS, count_tiles_doc},
    {"tile_moments", tile_moments, METH_VARARGS, tile_moments_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "The counting pass in C.", 0, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
