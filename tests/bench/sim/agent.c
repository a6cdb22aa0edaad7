/* A simulated ACP agent: JSON-RPC on stdio, a message a line. The words of a prompt say what it does:
 *
 *   flood N [SIZE [LINES]]   N updates of SIZE bytes, numbered, LINES of them a write (0: 64 KiB a write)
 *   tick N USEC              N numbered updates, one every USEC microseconds
 *   anything else            one numbered update
 *
 * Every update begins with "seq NUMBER", from 0 on in each turn. It costs next to nothing, so what is measured is
 * what stands between it and the client.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITE 65536
#define LONGEST 65536 /* bytes of an update */

static char out[4 * LONGEST];

static void say(const char *bytes, size_t size) {
    while (size) {
        ssize_t done = write(1, bytes, size);
        if (done < 0 && errno != EINTR) _exit(0);
        if (done > 0) bytes += done, size -= done;
    }
}

/* The value of a member, wherever in the line it stands: enough for what clients send in a benchmark. */
static char *value_of(char *line, const char *member) {
    char *found = strstr(line, member);
    if (!found) return NULL;
    found = strchr(found + strlen(member), ':');
    return found ? found + 1 + strspn(found + 1, " ") : NULL;
}

/* A request's own id: the last of that name at the outermost level is enough, but params come after it or before. */
static int id_of(char *line, char *id, int size) {
    int depth = 0;
    for (char *at = line; *at; at++) {
        if (*at == '"') {
            char *name = ++at;
            while (*at && *at != '"') at += *at == '\\' && at[1] ? 2 : 1;
            if (depth != 1 || at - name != 2 || strncmp(name, "id", 2) || !*at) {
                if (!*at) break;
                continue;
            }
            char *value = at + 1 + strspn(at + 1, " ");
            if (*value != ':') continue;
            value += 1 + strspn(value + 1, " ");
            int length = *value == '"' ? strchr(value + 1, '"') - value + 1 : (int)strcspn(value, ",} ");
            snprintf(id, size, "%.*s", length, value);
            return 1;
        }
        if (*at == '{' || *at == '[') depth++;
        if (*at == '}' || *at == ']') depth--;
    }
    return 0;
}

static int update(char *to, const char *session, int size) {
    static const char filler[] = "lorem ipsum dolor sit amet, ";
    int n = sprintf(to,
                    "{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{\"sessionId\":\"%s\",\"update\":"
                    "{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"type\":\"text\",\"text\":\"seq 00000000 ",
                    session);
    for (int i = 0; n < size - 6; i++) to[n++] = filler[i % 28];
    return n + sprintf(to + n, "\"}}}}\n");
}

static void number(char *digits, long value) {
    for (int i = 7; i >= 0; i--, value /= 10) digits[i] = '0' + value % 10;
}

static void flood(const char *session, long count, int size, int lines) {
    static char one[LONGEST + 512];
    int length = update(one, session, size), filled = 0, held = 0;
    int digits = strstr(one, "seq ") + 4 - one;
    for (long i = 0; i < count; i++) {
        memcpy(out + filled, one, length);
        number(out + filled + digits, i);
        filled += length, held++;
        if (lines ? held >= lines : filled + length > WRITE) {
            say(out, filled);
            filled = held = 0;
        }
    }
    say(out, filled);
}

static void tick(const char *session, long count, long every) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += every * 1000 * (getpid() % 97) / 97; /* many of them do not speak in one moment */
    int length = update(out, session, 200);
    char *digits = strstr(out, "seq ") + 4;
    for (long i = 0; i < count; i++) {
        at.tv_nsec += every * 1000;
        at.tv_sec += at.tv_nsec / 1000000000, at.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        number(digits, i);
        say(out, length);
    }
}

static void play(char *line) {
    char session[256] = "", *words = value_of(line, "\"sessionId\"");
    long count = 1, third = 0;
    int fourth = 0;
    if (words) sscanf(words, "\"%255[^\"]", session);
    if ((words = strstr(line, "\"flood "))) {
        third = 200;
        sscanf(words + 7, "%ld %ld %d", &count, &third, &fourth);
        flood(session, count, third < 200 ? 200 : third > LONGEST ? LONGEST : third, fourth);
    } else if ((words = strstr(line, "\"tick "))) {
        sscanf(words + 6, "%ld %ld", &count, &third);
        tick(session, count, third);
    } else {
        flood(session, 1, 200, 0);
    }
}

static void heed(char *line) {
    static int sessions = 0;
    char id[128], *method = value_of(line, "\"method\"");
    int asked = id_of(line, id, sizeof id), n;
    if (!method || !asked) return;
    if (!strncmp(method, "\"session/prompt\"", 16)) play(line);
    n = sprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":", id);
    if (!strncmp(method, "\"session/prompt\"", 16))
        n += sprintf(out + n, "{\"stopReason\":\"end_turn\"}}\n");
    else if (!strncmp(method, "\"session/new\"", 13))
        n += sprintf(out + n, "{\"sessionId\":\"sim-%d-%d\"}}\n", (int)getpid(), ++sessions);
    else if (!strncmp(method, "\"initialize\"", 12))
        n += sprintf(out + n, "{\"protocolVersion\":1,\"agentCapabilities\":{},"
                              "\"agentInfo\":{\"name\":\"sim\",\"version\":\"1\"},\"authMethods\":[]}}\n");
    else
        n += sprintf(out + n, "{}}\n");
    say(out, n);
}

int main(void) {
    static char in[1 << 20];
    size_t held = 0;
    ssize_t got;
    while ((got = read(0, in + held, sizeof in - held - 1)) > 0) {
        held += got;
        in[held] = 0;
        char *line = in, *end;
        while ((end = strchr(line, '\n'))) {
            *end = 0;
            heed(line);
            line = end + 1;
        }
        held = in + held - line;
        memmove(in, line, held);
    }
    return 0;
}
