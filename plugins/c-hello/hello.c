/* The sample plugin `hello` in C: it greets whoever it is told to greet. */
#include <plg.h>

#include <stdlib.h>
#include <string.h>

static const PlgStr labels[] = {PLG_STR("greet")};

static int32_t greet(PlgCtx ctx)
{
    static const char before[] = "Hello, ";
    const size_t before_len = sizeof before - 1;

    PlgStr name;
    int32_t status = plg_get_str(ctx, "name", &name);
    if (status != PLG_OK)
        return plg_refuse(ctx, status, "name");

    /* A name is as long as its sender likes, so the stack is no place for it. */
    const size_t reply_len = before_len + name.len + 1;
    char *reply = malloc(reply_len);
    if (reply == NULL)
        return plg_fail(ctx, "call.failed", "no memory for the reply");
    memcpy(reply, before, before_len);
    if (name.len > 0)
        memcpy(reply + before_len, name.ptr, name.len);
    reply[reply_len - 1] = '!';

    /* The host copies the reply before it answers. */
    status = plg_set_str(ctx, "reply", plg_str_n(reply, reply_len));
    free(reply);
    return status == PLG_OK ? PLG_OK : plg_refuse(ctx, status, "reply");
}

static int32_t answer(PlgCtx ctx, PlgStr label)
{
    if (plg_label_is(label, "greet"))
        return greet(ctx);
    return plg_unknown_label(ctx, label, labels, sizeof labels / sizeof labels[0]);
}

/* The manifest is plugin.json, line by line. The plugin has no threads, no pthread keys and no
 * thread-local destructors, so the host may unmap it. */
PLG_PLUGIN("c-hello", "0.1.0", PLG_FLAG_UNLOAD_HOOKS,
           "{\n"
           "  \"name\": \"c-hello\",\n"
           "  \"version\": \"0.1.0\",\n"
           "  \"description\": \"Greets whoever it is told to greet, in C\",\n"
           "  \"source\": { \"mode\": \"local_so\", \"path\": \"c-hello.so\" },\n"
           "  \"labels\": [\"greet\"]\n"
           "}\n",
           answer, PLG_LABELS(labels));
