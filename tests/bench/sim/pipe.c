/* The limit: `pipe AGENT PROMPT` starts the agent, prompts it, and counts newlines as fast as they come. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int count, char **words) {
    static char in[1 << 16], request[4096];
    int down[2], up[2];
    long lines = 0;
    ssize_t got;
    if (count < 3 || pipe(down) || pipe(up)) return 2;
    if (!fork()) {
        dup2(down[0], 0), dup2(up[1], 1);
        close(down[1]), close(up[0]);
        execl(words[1], words[1], (char *)NULL);
        _exit(127);
    }
    close(down[0]), close(up[1]);
    int size = snprintf(request, sizeof request,
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/prompt\",\"params\":{\"sessionId\":\"s\","
                        "\"prompt\":[{\"type\":\"text\",\"text\":\"%s\"}]}}\n", words[2]);
    double begun = now();
    if (write(down[1], request, size) != size) return 2;
    close(down[1]);
    while ((got = read(up[0], in, sizeof in)) > 0)
        for (char *at = in; (at = memchr(at, '\n', in + got - at)); at++) lines++;
    double seconds = now() - begun;
    printf("{\"updates\":%ld,\"seconds\":%.6f,\"per_s\":%.0f}\n", lines - 1, seconds, (lines - 1) / seconds);
    return 0;
}
