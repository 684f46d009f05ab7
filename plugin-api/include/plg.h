/*
 * plg.h - what a plg plugin in C includes. There is nothing to link.
 *
 * A plugin is a shared library with one entry point. This is all of one:
 *
 *     #include "plg.h"
 *
 *     static int32_t answer(PlgCtx ctx, PlgStr label)
 *     {
 *         if (!plg_label_is(label, "add"))
 *             return plg_unknown_label(ctx, label, NULL, 0);
 *         double a, b;
 *         int32_t status = plg_get_f64(ctx, "a", &a);
 *         if (status != PLG_OK)
 *             return plg_refuse(ctx, status, "a");
 *         status = plg_get_f64(ctx, "b", &b);
 *         if (status != PLG_OK)
 *             return plg_refuse(ctx, status, "b");
 *         return plg_set_f64(ctx, "sum", a + b);
 *     }
 *
 *     PLG_PLUGIN("adder", "0.1.0", 0, "{\"name\": \"adder\", \"version\": \"0.1.0\"}", answer);
 *
 *     cc -std=c11 -O2 -fPIC -shared -o adder.so adder.c
 *
 * What holds for every plugin:
 *
 * - The plugin is part of the host's process. A crash, an abort or an endless loop in it is the host's.
 * - An entry point is called from many threads at once. State is the plugin's own to guard.
 * - A context belongs to one call and to the thread of that call. Kept any longer it is harmless:
 *   every function answers PLG_EXPIRED. A label is text of the host's and lives for the call, no longer.
 * - Nothing that one side allocated is freed or kept by the other. What the plugin passes is copied
 *   before the function returns. What the host lends says below how long it lives.
 * - Text is UTF-8 with a length. It does not end in NUL and may contain one.
 * - No exception and no longjmp may leave an entry point.
 *
 * C11 or C++17, 64-bit targets, GCC or Clang. The records are those of the Rust crate
 * `plg-plugin-api`, byte for byte.
 */
#ifndef PLG_H
#define PLG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if UINTPTR_MAX != UINT64_MAX
#error "plg.h states the contract for 64-bit targets"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Constants ------------------------------------------------------------------------------- */

/* The contract's major version. Host and plugin must agree on it. */
#define PLG_MAJOR 1
/* The contract's minor version. Any two minors of one major work together. */
#define PLG_MINOR 0
/* A hash over names, sizes, alignments, fields and types of all records of this major version. A
 * host refuses a plugin whose fingerprint is another. */
#define PLG_FINGERPRINT UINT64_C(0x0c5bc7d2d18257c2)

/* First bytes of the plugin note. */
#define PLG_NOTE_MAGIC "plgnote1"
/* Name of the ELF section that holds the plugin note. */
#define PLG_NOTE_SECTION ".plgnote"
/* Name of the exported getter of the descriptor. */
#define PLG_DESCRIPTOR_SYMBOL "plg_descriptor_v1"
/* Name of the exported entry point, a thin alias of PlgDescriptor.execute. */
#define PLG_EXECUTE_SYMBOL "execute"
/* The value of PlgNoteHead.endian, which reads as another number on the other endianness. */
#define PLG_NOTE_ENDIAN 0x0102

/* Flags of a plugin note. */

/* No panic leaves the plugin. True of every plugin in C, so PLG_PLUGIN always sets it. */
#define PLG_FLAG_UNWIND UINT32_C(1)
/* Built for debugging. */
#define PLG_FLAG_DEBUG UINT32_C(2)
/* The plugin can be unmapped. Pass it only if the plugin starts no thread, creates no pthread key
 * and registers no thread-local destructor. The host checks: a library that takes `pthread_create`,
 * `pthread_key_create`, `__cxa_thread_atexit_impl` or one of their kind from libc stays mapped all
 * the same. Without the flag the host keeps the library mapped after an unload, which is always safe. */
#define PLG_FLAG_UNLOAD_HOOKS UINT32_C(4)

/* Tags of a PlgValueRef. They say what its `len` and `bits` mean. */

/* No value; `bits` and `len` are zero. */
#define PLG_TAG_NULL UINT32_C(0)
/* `bits` is 0 or 1. */
#define PLG_TAG_BOOL UINT32_C(1)
/* `bits` is the number in two's complement. */
#define PLG_TAG_I64 UINT32_C(2)
/* `bits` are the IEEE 754 bits. */
#define PLG_TAG_F64 UINT32_C(3)
/* `bits` is the address of `len` bytes of UTF-8. */
#define PLG_TAG_STR UINT32_C(4)
/* `bits` is the address of `len` bytes. */
#define PLG_TAG_BYTES UINT32_C(5)
/* `bits` is the address of `len` PlgValueRef. */
#define PLG_TAG_LIST UINT32_C(6)
/* `bits` is the address of `len` PlgEntryRef. The host lends keys ascending by their bytes and distinct; of a
 * plugin's equal keys the last one counts. */
#define PLG_TAG_MAP UINT32_C(7)

/* Status: what a function of either table answers. */

/* It worked. */
#define PLG_OK INT32_C(0)
/* The plugin reported an error through PlgHostTable.fail. */
#define PLG_FAILED INT32_C(1)
/* The plugin panicked and caught it. A plugin in C never answers this. */
#define PLG_PANICKED INT32_C(2)
/* There is no value under that key, or no key at that index. */
#define PLG_MISSING INT32_C(3)
/* The call this context belongs to has returned, or this is another thread. */
#define PLG_EXPIRED INT32_C(4)
/* The key is not UTF-8 or is unknown. */
#define PLG_BAD_KEY INT32_C(5)
/* The value has an unknown tag, is not UTF-8 or nests too deeply. The functions of this header
 * answer it too when a value is of another kind than the one asked for. */
#define PLG_BAD_VALUE INT32_C(6)
/* The value, the key or the number of values is over the host's limit. */
#define PLG_TOO_LARGE INT32_C(7)

/* Levels of a log line, most severe first. */

/* Something failed. */
#define PLG_LEVEL_ERROR UINT32_C(1)
/* Something is off but the call goes on. */
#define PLG_LEVEL_WARN UINT32_C(2)
/* Worth knowing in production. */
#define PLG_LEVEL_INFO UINT32_C(3)
/* Worth knowing while looking for a fault. */
#define PLG_LEVEL_DEBUG UINT32_C(4)
/* Every step. */
#define PLG_LEVEL_TRACE UINT32_C(5)

/* What plg_remaining answers for a call without a deadline. */
#define PLG_NO_DEADLINE UINT64_MAX

/* ---- Compilers ------------------------------------------------------------------------------- */

/* Makes a symbol visible to the host, also under -fvisibility=hidden. */
#define PLG_EXPORT __attribute__((visibility("default")))

/* Says that an array is no C string, so that a text which fills it draws no warning. */
#if defined(__has_attribute)
#if __has_attribute(nonstring)
#define PLG_NONSTRING __attribute__((nonstring))
#endif
#endif
#ifndef PLG_NONSTRING
#define PLG_NONSTRING
#endif

#ifdef __cplusplus
#define PLG_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define PLG_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

/* ---- Records --------------------------------------------------------------------------------- */

typedef struct PlgStr PlgStr;
typedef struct PlgValueRef PlgValueRef;
typedef struct PlgEntryRef PlgEntryRef;
typedef struct PlgCtx PlgCtx;
typedef struct PlgHostTable PlgHostTable;
typedef struct PlgDescriptor PlgDescriptor;
typedef struct PlgNoteHead PlgNoteHead;

/* Borrowed UTF-8 text. A null `ptr` goes with `len` 0. */
struct PlgStr {
    /* First byte. */
    const uint8_t *ptr;
    /* Length in bytes. */
    size_t len;
};

/* A borrowed value. */
struct PlgValueRef {
    /* One of PLG_TAG_*. */
    uint32_t tag;
    /* Bytes of text, or elements of a list or map. */
    uint32_t len;
    /* The number itself, or the address of the first byte or element. */
    uint64_t bits;
};

/* One entry of a map. */
struct PlgEntryRef {
    /* The key. */
    PlgStr key;
    /* The value. */
    PlgValueRef value;
};

/* What an entry point receives. It travels by value and is passed on by value. */
struct PlgCtx {
    /* Names this one call; the first argument of every function in the host's table. */
    uint64_t token;
    /* The host's functions. They live as long as the plugin. */
    const PlgHostTable *host;
};

/* What a host lends a plugin for one call. All functions are for the calling thread only.
 *
 * Text and bytes that `get` returns stay valid until the next `set` or `remove`; lists and maps only
 * until the next function of this table is called.
 *
 * Later minor versions append functions. Every host has the ones below; before you call one that
 * came later, ask PLG_HOST_HAS. */
struct PlgHostTable {
    /* Size of this table in bytes, as the host knows it. */
    uint32_t size;
    /* The host's PLG_MINOR. */
    uint32_t minor;
    /* Reads the value under a key. */
    int32_t (*get)(uint64_t token, PlgStr key, PlgValueRef *out);
    /* Stores a copy of a value. A blank key is ignored. */
    int32_t (*set)(uint64_t token, PlgStr key, PlgValueRef value);
    /* Like `get`, by the number that `intern` gave. */
    int32_t (*get_interned)(uint64_t token, uint32_t key, PlgValueRef *out);
    /* Like `set`, by the number that `intern` gave. */
    int32_t (*set_interned)(uint64_t token, uint32_t key, PlgValueRef value);
    /* The number of a key, never 0, for as long as the plugin is loaded; 0 when the host has no room
     * for another. */
    uint32_t (*intern)(uint64_t token, PlgStr key);
    /* Removes the value under a key. */
    int32_t (*remove)(uint64_t token, PlgStr key);
    /* Reads the key at an index; indexes are dense and shift on `remove`. */
    int32_t (*key_at)(uint64_t token, uint32_t index, PlgStr *out);
    /* Nanoseconds left until the deadline; PLG_NO_DEADLINE without one. */
    uint64_t (*remaining)(uint64_t token);
    /* 1 once the caller cancelled or the deadline passed, else 0. */
    uint32_t (*cancelled)(uint64_t token);
    /* States why the entry point is about to answer PLG_FAILED: a code and a message. */
    int32_t (*fail)(uint64_t token, PlgStr code, PlgStr message);
    /* Writes a line to the host's log; one of PLG_LEVEL_*. */
    int32_t (*log)(uint64_t token, uint32_t level, PlgStr message);
    /* Says how far the work is. `total` 0 means unknown. */
    int32_t (*progress)(uint64_t token, uint64_t done, uint64_t total, PlgStr message);
    /* Calls another plugin. `input` is a map; so is what `out` receives: the values after the call,
     * or, with any answer but PLG_OK, `code` and `message`. */
    int32_t (*call)(uint64_t token, PlgStr plugin, PlgStr label, PlgValueRef input, PlgValueRef *out);
};

/* What a plugin offers. The exported getter `plg_descriptor_v1` returns its address.
 *
 * Only `execute` is required; the others may be null. `init` runs once before the first call and may
 * refuse; `stop` asks the plugin to end its threads; `live` counts what still runs; `fini` gives back
 * what the plugin holds in the process and answers 0 when nothing is left.
 *
 * A plugin that keeps state across an upgrade has both `save` and `restore`. `save` puts the state into
 * its context as values, with plg_set. It may run while calls do, and more than once: an upgrade that
 * fails leaves this build in service. `restore` runs in the next build, after its `init` and before its
 * first call, and finds those values in its context. If it refuses, with plg_fail, the old build goes on
 * answering.
 *
 * Every function with a context answers PLG_OK, or PLG_FAILED after it said why. */
struct PlgDescriptor {
    /* Size of this table in bytes, as the plugin knows it. */
    uint32_t size;
    /* The plugin's PLG_MINOR. */
    uint32_t minor;
    /* Answers a call. `label` says which of its labels the plugin is asked for. */
    int32_t (*execute)(PlgCtx context, PlgStr label);
    /* Prepares the plugin. `label` is empty. */
    int32_t (*init)(PlgCtx context, PlgStr label);
    /* Ends what the plugin started. `label` is empty. */
    int32_t (*stop)(PlgCtx context, PlgStr label);
    /* Counts the plugin's own threads that are still alive. */
    uint32_t (*live)(void);
    /* Runs the thread-local destructors of this thread and deletes the plugin's keys. */
    uint32_t (*fini)(void);
    /* The labels that `execute` answers, or null when the plugin does not say. */
    const PlgStr *labels;
    /* How many labels there are. */
    size_t label_count;
    /* The version of the state that `save` writes, the plugin's own to count. */
    uint32_t state_version;
    /* Zero. */
    uint32_t reserved;
    /* Puts the plugin's state into the context. `label` is empty. */
    int32_t (*save)(PlgCtx context, PlgStr label);
    /* Takes the state of another build over. `label` is that build's `state_version` in decimal digits,
     * which plg_state_version reads. */
    int32_t (*restore)(PlgCtx context, PlgStr label);
};

/* The fixed part of the plugin note; `manifest_len` bytes of plugin.json follow it.
 *
 * It holds no pointer, so the host reads it from the file before any of the file's code can run. */
struct PlgNoteHead {
    /* PLG_NOTE_MAGIC. */
    uint8_t magic[8] PLG_NONSTRING;
    /* Size of this record in bytes. */
    uint32_t size;
    /* A set of PLG_FLAG_*. */
    uint32_t flags;
    /* PLG_FINGERPRINT. */
    uint64_t fingerprint;
    /* PLG_MAJOR. */
    uint16_t major;
    /* PLG_MINOR. */
    uint16_t minor;
    /* 32 or 64. */
    uint16_t pointer_bits;
    /* PLG_NOTE_ENDIAN. */
    uint16_t endian;
    /* Name of the plugin, padded with NUL. */
    uint8_t name[64] PLG_NONSTRING;
    /* Version of the plugin, padded with NUL. */
    uint8_t version[32] PLG_NONSTRING;
    /* Bytes of plugin.json after this record; 0 when the plugin embeds none. */
    uint32_t manifest_len;
    /* Zero. */
    uint32_t reserved;
};

/* Whether the host has a function that a later minor version appended to PlgHostTable. */
#define PLG_HOST_HAS(ctx, field)                                                                   \
    (offsetof(PlgHostTable, field) + sizeof((ctx).host->field) <= (ctx).host->size)

/* ---- Text ------------------------------------------------------------------------------------ */

/* A text literal as an initialiser of a PlgStr, for instance in an array of labels. */
#define PLG_STR(literal)                                                                           \
    {                                                                                              \
        (const uint8_t *)("" literal), sizeof("" literal) - 1                                      \
    }

/* Borrows a text that ends in NUL; null is the empty text. */
static inline PlgStr plg_str(const char *text)
{
    PlgStr out = {NULL, 0};
    if (text != NULL) {
        out.ptr = (const uint8_t *)text;
        out.len = strlen(text);
    }
    return out;
}

/* Borrows `len` bytes of text. */
static inline PlgStr plg_str_n(const char *text, size_t len)
{
    PlgStr out = {(const uint8_t *)text, len};
    return out;
}

/* Whether two texts have the same bytes. */
static inline bool plg_str_eq(PlgStr left, PlgStr right)
{
    return left.len == right.len && (left.len == 0 || memcmp(left.ptr, right.ptr, left.len) == 0);
}

/* Whether the label that the plugin is asked for is `name`. */
static inline bool plg_label_is(PlgStr label, const char *name)
{
    return plg_str_eq(label, plg_str(name));
}

/* Reads the version of a state off the label of `restore`. Answers PLG_OK, or PLG_BAD_VALUE when the
 * label is no number of 32 bits in decimal digits. */
static inline int32_t plg_state_version(PlgStr label, uint32_t *out)
{
    uint64_t version = 0;
    if (label.len == 0 || label.len > 10)
        return PLG_BAD_VALUE;
    for (size_t index = 0; index < label.len; index++) {
        if (label.ptr[index] < '0' || label.ptr[index] > '9')
            return PLG_BAD_VALUE;
        version = version * 10 + (uint64_t)(label.ptr[index] - '0');
    }
    if (version > UINT32_MAX)
        return PLG_BAD_VALUE;
    *out = (uint32_t)version;
    return PLG_OK;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* The null value. Unlike a missing key, null is a value. */
static inline PlgValueRef plg_value_null(void)
{
    PlgValueRef value = {PLG_TAG_NULL, 0, 0};
    return value;
}

/* A truth value. */
static inline PlgValueRef plg_value_bool(bool flag)
{
    PlgValueRef value = {PLG_TAG_BOOL, 0, flag ? UINT64_C(1) : UINT64_C(0)};
    return value;
}

/* A whole number. */
static inline PlgValueRef plg_value_i64(int64_t number)
{
    PlgValueRef value = {PLG_TAG_I64, 0, (uint64_t)number};
    return value;
}

/* A floating-point number. */
static inline PlgValueRef plg_value_f64(double number)
{
    PlgValueRef value = {PLG_TAG_F64, 0, 0};
    memcpy(&value.bits, &number, sizeof value.bits);
    return value;
}

/* Lends `len` bytes or elements. A value cannot hold 4 GiB or more; what is longer gets a tag that
 * no host knows, so that it is refused with PLG_BAD_VALUE and never cut short in silence. */
static inline PlgValueRef plg_value_slice_(uint32_t tag, const void *first, size_t len)
{
    PlgValueRef value = {tag, (uint32_t)len, (uint64_t)(uintptr_t)first};
    if (len > UINT32_MAX) {
        value.tag = UINT32_MAX;
        value.len = 0;
    }
    return value;
}

/* Lends text. */
static inline PlgValueRef plg_value_str(PlgStr text)
{
    return plg_value_slice_(PLG_TAG_STR, text.ptr, text.len);
}

/* Lends bytes. */
static inline PlgValueRef plg_value_bytes(const void *bytes, size_t len)
{
    return plg_value_slice_(PLG_TAG_BYTES, bytes, len);
}

/* Lends an array of values as a list. */
static inline PlgValueRef plg_value_list(const PlgValueRef *elements, size_t len)
{
    return plg_value_slice_(PLG_TAG_LIST, elements, len);
}

/* Lends an array of entries as a map. The keys ascend by their bytes and none occurs twice. */
static inline PlgValueRef plg_value_map(const PlgEntryRef *entries, size_t len)
{
    return plg_value_slice_(PLG_TAG_MAP, entries, len);
}

/* The text of a value, or PLG_BAD_VALUE when it is no text. */
static inline int32_t plg_as_str(PlgValueRef value, PlgStr *out)
{
    if (value.tag != PLG_TAG_STR) {
        *out = plg_str(NULL);
        return PLG_BAD_VALUE;
    }
    out->ptr = (const uint8_t *)(uintptr_t)value.bits;
    out->len = value.len;
    return PLG_OK;
}

/* The bytes of a value, or PLG_BAD_VALUE when it holds none. */
static inline int32_t plg_as_bytes(PlgValueRef value, const uint8_t **out, size_t *len)
{
    bool found = value.tag == PLG_TAG_BYTES;
    *out = found ? (const uint8_t *)(uintptr_t)value.bits : NULL;
    *len = found ? value.len : 0;
    return found ? PLG_OK : PLG_BAD_VALUE;
}

/* The whole number of a value, or PLG_BAD_VALUE when it is none. */
static inline int32_t plg_as_i64(PlgValueRef value, int64_t *out)
{
    bool found = value.tag == PLG_TAG_I64;
    *out = found ? (int64_t)value.bits : 0;
    return found ? PLG_OK : PLG_BAD_VALUE;
}

/* The number of a value of either kind, or PLG_BAD_VALUE when it is none. A whole number beyond 2^53
 * is rounded. */
static inline int32_t plg_as_f64(PlgValueRef value, double *out)
{
    *out = 0;
    if (value.tag == PLG_TAG_I64) {
        *out = (double)(int64_t)value.bits;
        return PLG_OK;
    }
    if (value.tag != PLG_TAG_F64)
        return PLG_BAD_VALUE;
    memcpy(out, &value.bits, sizeof *out);
    return PLG_OK;
}

/* The truth value of a value, or PLG_BAD_VALUE when it is none. */
static inline int32_t plg_as_bool(PlgValueRef value, bool *out)
{
    bool found = value.tag == PLG_TAG_BOOL;
    *out = found && value.bits != 0;
    return found ? PLG_OK : PLG_BAD_VALUE;
}

/* The elements of a list, or PLG_BAD_VALUE when the value is none. */
static inline int32_t plg_as_list(PlgValueRef value, const PlgValueRef **out, size_t *len)
{
    bool found = value.tag == PLG_TAG_LIST;
    *out = found ? (const PlgValueRef *)(uintptr_t)value.bits : NULL;
    *len = found ? value.len : 0;
    return found ? PLG_OK : PLG_BAD_VALUE;
}

/* The entries of a map, or PLG_BAD_VALUE when the value is none. */
static inline int32_t plg_as_map(PlgValueRef value, const PlgEntryRef **out, size_t *len)
{
    bool found = value.tag == PLG_TAG_MAP;
    *out = found ? (const PlgEntryRef *)(uintptr_t)value.bits : NULL;
    *len = found ? value.len : 0;
    return found ? PLG_OK : PLG_BAD_VALUE;
}

/* The value under a key of a map: PLG_MISSING when there is none, PLG_BAD_VALUE when `map` is no
 * map. */
static inline int32_t plg_find(PlgValueRef map, const char *key, PlgValueRef *out)
{
    const PlgEntryRef *entries;
    size_t len;
    int32_t status = plg_as_map(map, &entries, &len);
    *out = plg_value_null();
    if (status != PLG_OK)
        return status;
    for (size_t index = 0; index < len; index++) {
        if (plg_str_eq(entries[index].key, plg_str(key))) {
            *out = entries[index].value;
            return PLG_OK;
        }
    }
    return PLG_MISSING;
}

/* ---- The values of a call -------------------------------------------------------------------- */

/* Reads the value under a key, whatever its kind: PLG_MISSING when there is none. With any answer
 * but PLG_OK, `*out` is null; in the functions below it is then zero or empty. */
static inline int32_t plg_get(PlgCtx ctx, const char *key, PlgValueRef *out)
{
    *out = plg_value_null();
    return ctx.host->get(ctx.token, plg_str(key), out);
}

/* Reads text, which lives until the next plg_set_* or plg_remove: PLG_MISSING when there is no such
 * key, PLG_BAD_VALUE when its value is of another kind. */
static inline int32_t plg_get_str(PlgCtx ctx, const char *key, PlgStr *out)
{
    PlgValueRef value;
    int32_t status = plg_get(ctx, key, &value);
    int32_t kind = plg_as_str(value, out);
    return status == PLG_OK ? kind : status;
}

/* Reads bytes, which live until the next plg_set_* or plg_remove. Answers as plg_get_str. */
static inline int32_t plg_get_bytes(PlgCtx ctx, const char *key, const uint8_t **out, size_t *len)
{
    PlgValueRef value;
    int32_t status = plg_get(ctx, key, &value);
    int32_t kind = plg_as_bytes(value, out, len);
    return status == PLG_OK ? kind : status;
}

/* Reads a whole number. Answers as plg_get_str. */
static inline int32_t plg_get_i64(PlgCtx ctx, const char *key, int64_t *out)
{
    PlgValueRef value;
    int32_t status = plg_get(ctx, key, &value);
    int32_t kind = plg_as_i64(value, out);
    return status == PLG_OK ? kind : status;
}

/* Reads a number of either kind. Answers as plg_get_str. */
static inline int32_t plg_get_f64(PlgCtx ctx, const char *key, double *out)
{
    PlgValueRef value;
    int32_t status = plg_get(ctx, key, &value);
    int32_t kind = plg_as_f64(value, out);
    return status == PLG_OK ? kind : status;
}

/* Reads a truth value. Answers as plg_get_str. */
static inline int32_t plg_get_bool(PlgCtx ctx, const char *key, bool *out)
{
    PlgValueRef value;
    int32_t status = plg_get(ctx, key, &value);
    int32_t kind = plg_as_bool(value, out);
    return status == PLG_OK ? kind : status;
}

/* Stores a copy of a value: PLG_TOO_LARGE when it is over the host's limit, PLG_BAD_VALUE when the
 * host cannot make sense of it. A blank key is ignored. */
static inline int32_t plg_set(PlgCtx ctx, const char *key, PlgValueRef value)
{
    return ctx.host->set(ctx.token, plg_str(key), value);
}

/* Stores a copy of a text. Answers as plg_set. */
static inline int32_t plg_set_str(PlgCtx ctx, const char *key, PlgStr text)
{
    return text.len > UINT32_MAX ? PLG_TOO_LARGE : plg_set(ctx, key, plg_value_str(text));
}

/* Stores a copy of bytes. Answers as plg_set. */
static inline int32_t plg_set_bytes(PlgCtx ctx, const char *key, const void *bytes, size_t len)
{
    return len > UINT32_MAX ? PLG_TOO_LARGE : plg_set(ctx, key, plg_value_bytes(bytes, len));
}

/* Stores a whole number. Answers as plg_set. */
static inline int32_t plg_set_i64(PlgCtx ctx, const char *key, int64_t number)
{
    return plg_set(ctx, key, plg_value_i64(number));
}

/* Stores a floating-point number. Answers as plg_set. */
static inline int32_t plg_set_f64(PlgCtx ctx, const char *key, double number)
{
    return plg_set(ctx, key, plg_value_f64(number));
}

/* Stores a truth value. Answers as plg_set. */
static inline int32_t plg_set_bool(PlgCtx ctx, const char *key, bool flag)
{
    return plg_set(ctx, key, plg_value_bool(flag));
}

/* Stores null, which is a value: the key is there afterwards. */
static inline int32_t plg_set_null(PlgCtx ctx, const char *key)
{
    return plg_set(ctx, key, plg_value_null());
}

/* Removes the value under a key: PLG_MISSING when there was none. */
static inline int32_t plg_remove(PlgCtx ctx, const char *key)
{
    return ctx.host->remove(ctx.token, plg_str(key));
}

/* Reads the key at an index, counted from 0: PLG_MISSING after the last. */
static inline int32_t plg_key_at(PlgCtx ctx, uint32_t index, PlgStr *out)
{
    *out = plg_str(NULL);
    return ctx.host->key_at(ctx.token, index, out);
}

/* ---- The course of a call -------------------------------------------------------------------- */

/* Whether the caller has given up: it cancelled, or its deadline passed. Long work asks often. */
static inline bool plg_cancelled(PlgCtx ctx)
{
    return ctx.host->cancelled(ctx.token) != 0;
}

/* The nanoseconds left until the caller's deadline: PLG_NO_DEADLINE without one, 0 when it passed. */
static inline uint64_t plg_remaining(PlgCtx ctx)
{
    return ctx.host->remaining(ctx.token);
}

/* Writes a line to the host's log, where it carries the plugin's name and the label. `level` is one
 * of PLG_LEVEL_*. */
static inline void plg_log(PlgCtx ctx, uint32_t level, const char *message)
{
    (void)ctx.host->log(ctx.token, level, plg_str(message));
}

/* Says how far the work is; `total` 0 means unknown. */
static inline void plg_progress(PlgCtx ctx, uint64_t done, uint64_t total, const char *message)
{
    (void)ctx.host->progress(ctx.token, done, total, plg_str(message));
}

/* Calls another plugin with a map of values. It inherits this call's deadline and cancellation.
 *
 * `*out` receives a map: the values after the call, or, with any answer but PLG_OK, the keys `code`
 * and `message`. plg_find reads it. It lives until the next function that takes `ctx`. */
static inline int32_t plg_call(PlgCtx ctx, const char *plugin, const char *label, PlgValueRef input,
                               PlgValueRef *out)
{
    *out = plg_value_null();
    return ctx.host->call(ctx.token, plg_str(plugin), plg_str(label), input, out);
}

/* ---- Failing --------------------------------------------------------------------------------- */

/* States why the call fails and answers PLG_FAILED, so that an entry point can return what this
 * returns. `code` is stable and dotted, for programs; `message` is for people. */
static inline int32_t plg_fail(PlgCtx ctx, const char *code, const char *message)
{
    (void)ctx.host->fail(ctx.token, plg_str(code), plg_str(message));
    return PLG_FAILED;
}

/* A message under construction. It ends where the first text does not fit. */
struct PlgMessage_ {
    size_t len;
    bool full;
    char text[480];
};

/* Appends a text, cut before a character that does not fit whole. */
static inline void plg_message_add_(struct PlgMessage_ *message, PlgStr text)
{
    size_t room = sizeof message->text - 1 - message->len;
    size_t len = message->full ? 0 : text.len;
    if (len > room) {
        message->full = true;
        len = room;
        while (len > 0 && (text.ptr[len] & 0xC0) == 0x80)
            len--;
    }
    if (len > 0)
        memcpy(message->text + message->len, text.ptr, len);
    message->len += len;
    message->text[message->len] = '\0';
}

/* Fails because the host answered `status` when the plugin read or set `key`. The codes are
 * `ctx.missing`, `ctx.type`, `ctx.too_large`, `ctx.key` and `ctx.expired`. Answers PLG_FAILED. */
static inline int32_t plg_refuse(PlgCtx ctx, int32_t status, const char *key)
{
    const char *code = "call.failed";
    const char *before = "the host refused `";
    const char *after = "`";
    struct PlgMessage_ message = {0, false, {0}};
    switch (status) {
    case PLG_MISSING:
        code = "ctx.missing";
        before = "no value under `";
        break;
    case PLG_EXPIRED:
        code = "ctx.expired";
        before = "failed to reach `";
        after = "`: the call is over, or this is another thread";
        break;
    case PLG_BAD_KEY:
        code = "ctx.key";
        before = "the host refused the key `";
        break;
    case PLG_BAD_VALUE:
        code = "ctx.type";
        before = "the value of `";
        after = "` is of another kind than expected";
        break;
    case PLG_TOO_LARGE:
        code = "ctx.too_large";
        before = "failed to set `";
        after = "`: over the host's limit";
        break;
    default:
        break;
    }
    plg_message_add_(&message, plg_str(before));
    plg_message_add_(&message, plg_str(key));
    plg_message_add_(&message, plg_str(after));
    return plg_fail(ctx, code, message.text);
}

/* Fails with `call.no_route` because the plugin does not have the label it is asked for. `labels` are
 * those it has, or null. Answers PLG_FAILED. */
static inline int32_t plg_unknown_label(PlgCtx ctx, PlgStr label, const PlgStr *labels,
                                        size_t label_count)
{
    struct PlgMessage_ message = {0, false, {0}};
    plg_message_add_(&message, plg_str("no label `"));
    plg_message_add_(&message, label);
    plg_message_add_(&message, plg_str("`"));
    for (size_t index = 0; labels != NULL && index < label_count; index++) {
        plg_message_add_(&message, plg_str(index == 0 ? "; the plugin has `" : ", `"));
        plg_message_add_(&message, labels[index]);
        plg_message_add_(&message, plg_str("`"));
    }
    return plg_fail(ctx, "call.no_route", message.text);
}

#ifdef __cplusplus
}
#endif

/* ---- Exporting a plugin ---------------------------------------------------------------------- */

/*
 * PLG_PLUGIN(name, version, flags, manifest, execute, ...) exports a plugin. Use it once, at file
 * scope, in a library that is built with -fPIC -shared.
 *
 * - `name` and `version` are text literals of at most 64 and 32 bytes, the same as in plugin.json.
 * - `flags` is 0 or a set of PLG_FLAG_UNLOAD_HOOKS and PLG_FLAG_DEBUG. PLG_FLAG_UNWIND is added.
 * - `manifest` is the text of plugin.json as a literal, so that the library describes itself where
 *   there is no file beside it; "" embeds none.
 * - `execute` is the function that answers every call. It may be static. Do not call it `execute`:
 *   the macro exports a function of that name.
 *
 * In C the other members of PlgDescriptor follow by name, all optional:
 *
 *     PLG_PLUGIN("adder", "0.1.0", PLG_FLAG_UNLOAD_HOOKS, "", answer,
 *                .init = prepare, .stop = finish, PLG_LABELS(labels),
 *                .state_version = 1, .save = keep, .restore = take_over);
 *
 * In C++ they follow by position, in the order of PlgDescriptor and without `reserved`:
 *
 *     PLG_PLUGIN("adder", "0.1.0", 0, "", answer, prepare, finish, nullptr, nullptr,
 *                PLG_LABELS(labels), 1, keep, take_over);
 *
 * The note needs no attribute that keeps it from --gc-sections: a linker keeps what a shared library
 * exports.
 */

#define PLG_NOTE_ATTRIBUTES_ __attribute__((used, section(PLG_NOTE_SECTION)))

#ifndef __cplusplus

/* The members `.labels` and `.label_count` for an array of PlgStr. */
#define PLG_LABELS(array) .labels = (array), .label_count = sizeof(array) / sizeof((array)[0])

#define PLG_PLUGIN(plugin_name, plugin_version, plugin_flags, plugin_manifest, ...)                \
    PLG_STATIC_ASSERT(sizeof("" plugin_name) - 1 <= 64, "the name is longer than 64 bytes");       \
    PLG_STATIC_ASSERT(sizeof("" plugin_version) - 1 <= 32, "the version is longer than 32 bytes"); \
    struct PlgNote_ {                                                                              \
        PlgNoteHead head;                                                                          \
        char manifest[sizeof("" plugin_manifest) > 1 ? sizeof("" plugin_manifest) - 1 : 1]         \
            PLG_NONSTRING;                                                                         \
    };                                                                                             \
    PLG_EXPORT extern const struct PlgNote_ plg_note_v1;                                           \
    PLG_NOTE_ATTRIBUTES_ const struct PlgNote_ plg_note_v1 = {                                     \
        .head =                                                                                    \
            {                                                                                      \
                .magic = PLG_NOTE_MAGIC,                                                           \
                .size = sizeof(PlgNoteHead),                                                       \
                .flags = (plugin_flags) | PLG_FLAG_UNWIND,                                         \
                .fingerprint = PLG_FINGERPRINT,                                                    \
                .major = PLG_MAJOR,                                                                \
                .minor = PLG_MINOR,                                                                \
                .pointer_bits = sizeof(void *) * 8,                                                \
                .endian = PLG_NOTE_ENDIAN,                                                         \
                .name = "" plugin_name,                                                            \
                .version = "" plugin_version,                                                      \
                .manifest_len = sizeof("" plugin_manifest) - 1,                                    \
                .reserved = 0,                                                                     \
            },                                                                                     \
        .manifest = "" plugin_manifest,                                                            \
    };                                                                                             \
    static const PlgDescriptor plg_descriptor_ = {                                                 \
        .size = sizeof(PlgDescriptor), .minor = PLG_MINOR, .execute = __VA_ARGS__};                \
    PLG_EXPORT const PlgDescriptor *plg_descriptor_v1(void);                                       \
    const PlgDescriptor *plg_descriptor_v1(void)                                                   \
    {                                                                                              \
        return &plg_descriptor_;                                                                   \
    }                                                                                              \
    PLG_EXPORT int32_t execute(PlgCtx ctx, PlgStr label);                                          \
    int32_t execute(PlgCtx ctx, PlgStr label)                                                      \
    {                                                                                              \
        return plg_descriptor_.execute(ctx, label);                                                \
    }                                                                                              \
    PLG_STATIC_ASSERT(PLG_MAJOR == 1, "plg_descriptor_v1 is the getter of major version 1")

#else /* C++ */

/* The two arguments of PLG_PLUGIN for an array of PlgStr. */
#define PLG_LABELS(array) (array), sizeof(array) / sizeof((array)[0])

template <size_t N> struct PlgNote_ {
    PlgNoteHead head;
    char manifest[N];
};

template <typename T, size_t Room, size_t N>
constexpr void plg_copy_(T (&out)[Room], const char (&text)[N])
{
    static_assert(N - 1 <= Room, "the name or the version is too long for the plugin note");
    for (size_t index = 0; index + 1 < N; index++)
        out[index] = static_cast<T>(text[index]);
}

template <size_t NameN, size_t VersionN, size_t N>
constexpr PlgNote_<(N > 1 ? N - 1 : 1)> plg_note_of_(const char (&name)[NameN],
                                                     const char (&version)[VersionN],
                                                     uint32_t flags, const char (&manifest)[N])
{
    PlgNote_<(N > 1 ? N - 1 : 1)> note{};
    plg_copy_(note.head.magic, PLG_NOTE_MAGIC);
    note.head.size = sizeof(PlgNoteHead);
    note.head.flags = flags | PLG_FLAG_UNWIND;
    note.head.fingerprint = PLG_FINGERPRINT;
    note.head.major = PLG_MAJOR;
    note.head.minor = PLG_MINOR;
    note.head.pointer_bits = sizeof(void *) * 8;
    note.head.endian = PLG_NOTE_ENDIAN;
    plg_copy_(note.head.name, name);
    plg_copy_(note.head.version, version);
    note.head.manifest_len = N - 1;
    plg_copy_(note.manifest, manifest);
    return note;
}

constexpr PlgDescriptor plg_descriptor_of_(int32_t (*execute)(PlgCtx, PlgStr),
                                           int32_t (*init)(PlgCtx, PlgStr) = nullptr,
                                           int32_t (*stop)(PlgCtx, PlgStr) = nullptr,
                                           uint32_t (*live)() = nullptr,
                                           uint32_t (*fini)() = nullptr,
                                           const PlgStr *labels = nullptr, size_t label_count = 0,
                                           uint32_t state_version = 0,
                                           int32_t (*save)(PlgCtx, PlgStr) = nullptr,
                                           int32_t (*restore)(PlgCtx, PlgStr) = nullptr)
{
    return PlgDescriptor{sizeof(PlgDescriptor), PLG_MINOR,   execute,       init, stop, live,    fini,
                         labels,                label_count, state_version, 0,    save, restore};
}

#define PLG_PLUGIN(plugin_name, plugin_version, plugin_flags, plugin_manifest, ...)                \
    extern "C" {                                                                                   \
    PLG_EXPORT extern const PlgNote_<(                                                             \
        sizeof("" plugin_manifest) > 1 ? sizeof("" plugin_manifest) - 1 : 1)>                      \
        plg_note_v1;                                                                               \
    PLG_NOTE_ATTRIBUTES_ constexpr PlgNote_<(                                                      \
        sizeof("" plugin_manifest) > 1 ? sizeof("" plugin_manifest) - 1 : 1)>                      \
        plg_note_v1 =                                                                              \
            plg_note_of_("" plugin_name, "" plugin_version, plugin_flags, "" plugin_manifest);     \
    static constexpr PlgDescriptor plg_descriptor_ = plg_descriptor_of_(__VA_ARGS__);              \
    PLG_EXPORT const PlgDescriptor *plg_descriptor_v1(void);                                       \
    const PlgDescriptor *plg_descriptor_v1(void)                                                   \
    {                                                                                              \
        return &plg_descriptor_;                                                                   \
    }                                                                                              \
    PLG_EXPORT int32_t execute(PlgCtx ctx, PlgStr label);                                          \
    int32_t execute(PlgCtx ctx, PlgStr label)                                                      \
    {                                                                                              \
        return plg_descriptor_.execute(ctx, label);                                                \
    }                                                                                              \
    }                                                                                              \
    static_assert(PLG_MAJOR == 1, "plg_descriptor_v1 is the getter of major version 1")

#endif

#endif /* PLG_H */
