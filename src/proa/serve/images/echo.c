/* A small HTTP echo for demos and tests.
 *
 * GET /health and /ready answer "ok"; /slow?ms=N answers after N milliseconds; anything else
 * answers {"hostname": …, "path": …}. A line a request goes to standard output. PORT is the
 * port (3000). ON_SIGTERM says what SIGTERM does: "exit" (default), "ignore", or "drain:N":
 * /ready fails for N seconds, then it exits. One thread a connection, one request each.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t draining;
static const char *on_sigterm = "exit";
static char hostname[256];

static void terminated(int number) {
    (void)number;
    if (strcmp(on_sigterm, "ignore") == 0)
        return;
    if (strncmp(on_sigterm, "drain:", 6) == 0) {
        draining = 1;
        alarm((unsigned)atoi(on_sigterm + 6));
        return;
    }
    _exit(0);
}

static void drained(int number) {
    (void)number;
    _exit(0);
}

static void answer(int client, const char *status, const char *body) {
    char reply[2048];
    int size = snprintf(reply, sizeof reply,
                        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n%s",
                        status, strlen(body), body);
    if (write(client, reply, (size_t)size) < 0)
        perror("write");
}

static void *serve(void *argument) {
    int client = (int)(long)argument;
    char request[4096] = "", method[16] = "", path[1024] = "", body[1536];
    size_t used = 0;
    while (used < sizeof request - 1) {
        ssize_t got = read(client, request + used, sizeof request - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
        request[used] = 0;
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    if (sscanf(request, "%15s %1023s", method, path) != 2) {
        close(client);
        return NULL;
    }
    const char *status = "200 OK";
    if (strcmp(path, "/ready") == 0 && draining)
        status = "503 Service Unavailable";
    char *delay = strstr(path, "ms=");
    if (strncmp(path, "/slow", 5) == 0 && delay)
        usleep((useconds_t)atoi(delay + 3) * 1000);
    if (strcmp(path, "/ready") == 0 || strcmp(path, "/health") == 0)
        snprintf(body, sizeof body, "{\"status\":\"%s\"}\n", *status == '2' ? "ok" : "draining");
    else
        snprintf(body, sizeof body, "{\"hostname\":\"%s\",\"path\":\"%s\"}\n", hostname, path);
    answer(client, status, body);
    printf("%s %s %.3s\n", method, path, status);
    shutdown(client, SHUT_WR);
    close(client);
    return NULL;
}

int main(void) {
    const char *port = getenv("PORT"), *behaviour = getenv("ON_SIGTERM");
    if (behaviour)
        on_sigterm = behaviour;
    setvbuf(stdout, NULL, _IOLBF, 0);
    gethostname(hostname, sizeof hostname - 1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, terminated);
    signal(SIGALRM, drained);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "3000"))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        pthread_t thread;
        if (client < 0)
            continue;
        if (pthread_create(&thread, NULL, serve, (void *)(long)client))
            close(client);
        else
            pthread_detach(thread);
    }
}
