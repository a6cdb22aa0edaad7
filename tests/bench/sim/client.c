/* A client of ACP that costs next to nothing and believes nothing: every update is checked for session and number.
 *
 *   client DOOR [--token T] [--sessions N] [--clients N] [--prompt TEXT] [--repeat N] [--seconds S] [--hold]
 *   client DOOR [--token T] --call METHOD [--repeat N]
 *   client DOOR [--token T] --replay SESSION --count N
 *
 * DOOR is unix:PATH, ws:HOST:PORT:PATH or exec:PROGRAM (an agent on a pipe, nothing between). It opens N sessions over
 * one connection and prompts all of them at once, REPEAT times or for S seconds; of more clients, each but the first attaches to the
 * first session. --hold says "open" before it prompts and "done" behind, and goes on at a line on stdin. --replay
 * attaches from number 1 on, until it has COUNT updates. The result is one JSON object; a lost, repeated, reordered or
 * foreign update is counted in it, and makes the exit code 1. All other trouble is told on stderr, exit code 2.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 20) /* bytes of one read */
#define SLOTS 8192     /* of the table of sessions; a power of two, far above their number */

struct link {
    int in, out, framed;
    char *bytes;
    size_t head, tail, room;
};

struct session {
    char id[128];
    size_t length;
    long asked; /* the id of its prompt; 0: answered */
};

struct seat { /* what one client has heard of one session */
    long next, heard;
};

static struct link *links;
static struct session *sessions;
static struct seat *seats; /* by client, then session */
static int slots[SLOTS], open_sessions, clients = 1, running;
static long long *trips;
static long trip, lost, foreign, updates, expected;
static size_t volume;
static long long begun;
static const char *token;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(2);
}

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

/* Bytes */

static void put(struct link *to, const char *bytes, size_t size) {
    while (size) {
        ssize_t done = write(to->out, bytes, size);
        if (done < 0) fail("write: %s", strerror(errno));
        bytes += done, size -= done;
    }
}

static void get(struct link *from) {
    if (from->room - from->tail < ROOM) {
        memmove(from->bytes, from->bytes + from->head, from->tail - from->head);
        from->tail -= from->head, from->head = 0;
        if (from->room - from->tail < ROOM) from->bytes = realloc(from->bytes, from->room = 2 * from->room + 2 * ROOM);
    }
    ssize_t done = read(from->in, from->bytes + from->tail, ROOM);
    if (done <= 0) fail("the other side is gone after %ld updates: %s", updates, done ? strerror(errno) : "end");
    from->tail += done;
}

static void say(struct link *to, const char *format, ...) {
    static char text[65536];
    unsigned char head[8] = {0x81, 0x80 | 126}; /* the mask, four bytes, is zeros: the payload stays as it is */
    int skip = 0;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text + 8, sizeof text - 16, format, arguments);
    if (!to->framed) {
        text[8 + size] = '\n';
        put(to, text + 8, size + 1);
        return;
    }
    if (size < 126) /* a length of two bytes where one would do is refused */
        skip = 2, head[2] = 0x81, head[3] = 0x80 | size;
    else
        head[2] = size >> 8, head[3] = size;
    memcpy(text, head, 8);
    if (skip) memset(text + 4, 0, 4);
    put(to, text + skip, size + 8 - skip);
}

/* The next message that is here as a whole; 0 if there is none. */
static int take(struct link *from, char **text, size_t *size) {
    for (;;) {
        unsigned char *at = (unsigned char *)from->bytes + from->head;
        size_t here = from->tail - from->head, length, skip = 2;
        if (!from->framed) {
            char *end = memchr(at, '\n', here);
            if (!end) return 0;
            *text = (char *)at, *size = end - (char *)at;
            from->head += *size + 1;
            return 1;
        }
        if (here < 2) return 0;
        length = at[1] & 127;
        if (length == 126) {
            if (here < 4) return 0;
            length = at[2] << 8 | at[3], skip = 4;
        } else if (length == 127) {
            if (here < 10) return 0;
            length = 0, skip = 10;
            for (int i = 2; i < 10; i++) length = length << 8 | at[i];
        }
        if (here < skip + length) return 0;
        from->head += skip + length;
        if ((at[0] & 15) == 8) fail("the server closed: %.*s", length > 2 ? (int)length - 2 : 0, at + skip + 2);
        if ((at[0] & 15) > 2) continue; /* a ping of the server: it forgives a client as short-lived as this one */
        *text = (char *)at + skip, *size = length;
        return 1;
    }
}

static void wait_for(struct link *from, char **text, size_t *size) {
    while (!take(from, text, size)) get(from);
}

/* Doors */

static void come_in(struct link *to, const char *host, const char *path) {
    char *end;
    char request[2048];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                        path, host, token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
    put(to, request, size);
    do get(to);
    while (!(end = memmem(to->bytes, to->tail, "\r\n\r\n", 4)));
    if (!memmem(to->bytes, 16, " 101", 4)) fail("no upgrade: %.*s", (int)to->tail, to->bytes);
    to->head = end + 4 - to->bytes;
    to->framed = 1;
}

static void dial(struct link *to, const char *door) {
    int one = 1;
    char host[64], path[512];
    memset(to, 0, sizeof *to);
    to->bytes = malloc(to->room = 2 * ROOM);
    if (!strncmp(door, "unix:", 5)) {
        struct sockaddr_un where = {.sun_family = AF_UNIX};
        strncpy(where.sun_path, door + 5, sizeof where.sun_path - 1);
        to->in = to->out = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(to->in, (void *)&where, sizeof where)) fail("%s: %s", door, strerror(errno));
    } else if (!strncmp(door, "ws:", 3)) {
        int port;
        if (sscanf(door, "ws:%63[^:]:%d:%511s", host, &port, path) != 3) fail("%s: not ws:HOST:PORT:PATH", door);
        struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, host, &where.sin_addr);
        to->in = to->out = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(to->in, (void *)&where, sizeof where)) fail("%s: %s", door, strerror(errno));
        setsockopt(to->in, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        come_in(to, host, path);
    } else if (!strncmp(door, "exec:", 5)) {
        int down[2], up[2];
        if (pipe(down) || pipe(up)) fail("pipe: %s", strerror(errno));
        if (!fork()) {
            dup2(down[0], 0), dup2(up[1], 1);
            close(down[1]), close(up[0]);
            execl(door + 5, door + 5, (char *)NULL);
            _exit(127);
        }
        close(down[0]), close(up[1]);
        to->in = up[0], to->out = down[1];
    } else {
        fail("%s: not unix:, ws: or exec:", door);
    }
}

/* Messages */

static int has(const char *text, size_t size, const char *what) { return memmem(text, size, what, strlen(what)) != NULL; }

static int answers(const char *text, size_t size, long id) {
    char compact[32], spaced[32];
    snprintf(compact, sizeof compact, "\"id\":%ld,", id);
    snprintf(spaced, sizeof spaced, "\"id\": %ld,", id);
    if (!has(text, size, compact) && !has(text, size, spaced)) {
        compact[strlen(compact) - 1] = '}'; /* where it stands last */
        if (!has(text, size, compact)) return 0;
    }
    if (has(text, size < 200 ? size : 200, "\"error\":{")) fail("request %ld: %.*s", id, size < 500 ? (int)size : 500, text);
    return 1;
}

static void reply_to(struct link *from, long id, char **text, size_t *size) {
    do wait_for(from, text, size);
    while (!answers(*text, *size, id));
}

static char *session_id(const char *text, size_t size, size_t *length) {
    char *at = memmem(text, size, "\"sessionId\"", 11);
    if (!at || !(at = memchr(at + 11, '"', text + size - at - 11))) return NULL;
    at++;
    char *end = memchr(at, '"', text + size - at);
    if (!end) return NULL;
    *length = end - at;
    return at;
}

static unsigned slot_of(const char *id, size_t length) {
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)id[i]) * 16777619u;
    return hash % SLOTS;
}

static int find(const char *id, size_t length) {
    if (open_sessions == 1)
        return sessions[0].length == length && !memcmp(sessions[0].id, id, length) ? 0 : -1;
    for (unsigned at = slot_of(id, length); slots[at]; at = (at + 1) % SLOTS) {
        struct session *one = &sessions[slots[at] - 1];
        if (one->length == length && !memcmp(one->id, id, length)) return slots[at] - 1;
    }
    return -1;
}

static void add(const char *id, size_t length) {
    struct session *one = &sessions[open_sessions++];
    if (length >= sizeof one->id) fail("a session id of %zu bytes", length);
    memcpy(one->id, id, length);
    one->length = length;
    unsigned at = slot_of(id, length);
    while (slots[at]) at = (at + 1) % SLOTS;
    slots[at] = open_sessions;
}

static void initialize(struct link *to) {
    char *text;
    size_t size;
    say(to, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":1,"
            "\"clientCapabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}");
    reply_to(to, 1, &text, &size);
}

static void open_all(struct link *to, int count) {
    char *text;
    size_t size, length;
    for (int i = 0; i < count; i++)
        say(to, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"session/new\",\"params\":{\"cwd\":\"/\",\"mcpServers\":[]}}", 1000 + i);
    while (open_sessions < count) {
        wait_for(to, &text, &size);
        if (has(text, size, "\"error\":")) fail("session/new: %.*s", (int)size, text);
        char *id = has(text, size, "\"result\"") ? session_id(text, size, &length) : NULL;
        if (id) add(id, length);
    }
}

static void attach(struct link *to, const struct session *one, const char *since) {
    char *text;
    size_t size;
    say(to, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"_trio_broker/attach\",\"params\":{\"sessionId\":\"%.*s\",\"role\":\"observer\"%s}}",
        (int)one->length, one->id, since);
    reply_to(to, 2, &text, &size);
}

static void heard_update(int client, char *text, size_t size) {
    size_t length;
    char *id = session_id(text, size, &length);
    int which = id ? find(id, length) : -1;
    if (which < 0) {
        foreign++;
        return;
    }
    struct seat *seat = &seats[client * open_sessions + which];
    char *number = memmem(id, size - (id - text), "\"seq ", 5);
    if (!number) return; /* a prompt of another, which the broker tells */
    if (strtol(number + 5, NULL, 10) != seat->next) lost++;
    seat->next = strtol(number + 5, NULL, 10) + 1;
    seat->heard++;
    updates++;
    volume += size;
}

static void heard(int client, char *text, size_t size) {
    if (has(text, size < 120 ? size : 120, "session/update")) {
        heard_update(client, text, size);
    } else if (client == 0) {
        for (int i = 0; i < open_sessions; i++) {
            struct session *one = &sessions[i];
            if (!one->asked || !answers(text, size, one->asked)) continue;
            if (seats[i].heard != expected) lost++; /* all of a turn comes before its end */
            one->asked = 0;
            running--;
            trips[trip++] = now() - begun;
            break;
        }
    }
}

static void listen_until(int (*over)(void)) {
    struct pollfd ears[clients];
    char *text;
    size_t size;
    for (int i = 0; i < clients; i++) ears[i] = (struct pollfd){.fd = links[i].in, .events = POLLIN};
    while (!over()) {
        if (clients > 1) poll(ears, clients, -1);
        for (int i = 0; i < clients; i++) {
            if (clients > 1 && !ears[i].revents) continue;
            if (over()) break;
            get(&links[i]);
            while (take(&links[i], &text, &size)) heard(i, text, size);
        }
    }
}

static int turns_over(void) {
    if (running) return 0;
    for (int i = 1; i < clients; i++)
        if (seats[i * open_sessions].heard < expected) return 0;
    return 1;
}

static void round_of(const char *prompt, long id) {
    memset(seats, 0, sizeof *seats * clients * open_sessions);
    begun = now();
    running = open_sessions;
    for (int i = 0; i < open_sessions; i++) {
        sessions[i].asked = id + i;
        say(&links[0],
            "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"session/prompt\",\"params\":{\"sessionId\":\"%.*s\","
            "\"prompt\":[{\"type\":\"text\",\"text\":\"%s\"}]}}",
            id + i, (int)sessions[i].length, sessions[i].id, prompt);
    }
    listen_until(turns_over);
}

/* What can be asked of it */

static int compare(const void *one, const void *other) {
    long long a = *(long long *)one, b = *(long long *)other;
    return (a > b) - (a < b);
}

static double part(double share) { return trip ? trips[(long)(share * (trip - 1) + 0.5)] / 1e3 : 0; }

static int report(double seconds, double ready, double first) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(trips, trip, sizeof *trips, compare);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"updates\":%ld,\"seconds\":%.6f,\"per_s\":%.0f,\"bytes\":%zu,\"lost\":%ld,\"foreign\":%ld,"
           "\"ready_ms\":%.3f,\"first_ms\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"client_cpu\":%.4f}\n",
           updates, seconds, seconds ? updates / seconds : 0, volume, lost, foreign, ready, first, part(0.5),
           part(0.99), part(1), cpu);
    fflush(stdout);
    return lost || foreign;
}

static void hold(const char *word) {
    char line[64];
    puts(word);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

static int call(const char *method, long repeat) {
    char *text;
    size_t size;
    long long first = now();
    for (long i = 0; i < repeat; i++) {
        long long at = now();
        say(&links[0], "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"%s\",\"params\":{}}", i + 10, method);
        reply_to(&links[0], i + 10, &text, &size);
        trips[trip++] = now() - at;
        volume += size;
        usleep(2000);
    }
    return report((now() - first) / 1e9, 0, 0);
}

static int replay(const char *id, long count) {
    char *text;
    size_t size;
    struct session one = {.length = strlen(id)};
    memcpy(one.id, id, one.length);
    add(id, one.length);
    seats = calloc(1, sizeof *seats);
    long long at = now(), first = 0;
    say(&links[0], "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"_trio_broker/attach\",\"params\":{\"sessionId\":\"%s\",\"since\":1,\"role\":\"observer\"}}", id);
    while (updates < count) {
        wait_for(&links[0], &text, &size);
        if (!has(text, size < 120 ? size : 120, "session/update")) continue;
        if (!first) first = now();
        heard_update(0, text, size);
    }
    return report((now() - at) / 1e9, 0, (first - at) / 1e6);
}

int main(int count, char **words) {
    const char *prompt = "hi", *method = NULL, *past = NULL;
    long repeat = 1, wanted = 1, many = 1, longest = 3600;
    int holds = 0;
    if (count < 2) fail("client: say a DOOR");
    for (int i = 2; i < count; i++) {
        const char *option = words[i];
        if (!strcmp(option, "--hold")) {
            holds = 1;
            continue;
        }
        if (++i >= count) fail("%s: a value is missing", option);
        if (!strcmp(option, "--token")) token = words[i];
        else if (!strcmp(option, "--sessions")) many = atol(words[i]);
        else if (!strcmp(option, "--clients")) clients = atoi(words[i]);
        else if (!strcmp(option, "--prompt")) prompt = words[i];
        else if (!strcmp(option, "--repeat")) repeat = atol(words[i]);
        else if (!strcmp(option, "--seconds")) longest = atol(words[i]);
        else if (!strcmp(option, "--call")) method = words[i];
        else if (!strcmp(option, "--replay")) past = words[i];
        else if (!strcmp(option, "--count")) wanted = atol(words[i]);
        else fail("%s: no such option", option);
    }
    links = calloc(clients, sizeof *links);
    sessions = calloc(many, sizeof *sessions);
    trips = calloc(repeat * many + 1, sizeof *trips);
    long long came = now();
    for (int i = 0; i < clients; i++) dial(&links[i], words[1]);
    if (method) return call(method, repeat);
    if (past) return replay(past, wanted);
    for (int i = 0; i < clients; i++) initialize(&links[i]);
    open_all(&links[0], many);
    for (int i = 1; i < clients; i++) attach(&links[i], &sessions[0], "");
    seats = calloc(clients * many, sizeof *seats);
    expected = 1;
    sscanf(prompt, "flood %ld", &expected);
    sscanf(prompt, "tick %ld", &expected);
    double ready = (now() - came) / 1e6;
    if (holds) hold("open");
    long long at = now();
    for (long i = 0; i < repeat && now() - at < longest * 1000000000LL; i++) round_of(prompt, 100000 + i * many);
    double seconds = (now() - at) / 1e9;
    if (holds) hold("done");
    return report(seconds, ready, 0);
}
