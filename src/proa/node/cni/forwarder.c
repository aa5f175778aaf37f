/* The CNI plugin of Proa: hands the call to the node agent and prints its answer.
 *
 * containerd runs it once per sandbox and operation, with CNI_* in the environment and the network
 * configuration on standard input. Over the agent's socket go the CNI_* variables, one a line, an
 * empty line, and the input as it came; back come the exit code on one line and the text to print.
 * DEL succeeds while the agent is away: it reconciles later. node/cni/build.py compiles this with
 * PROA_CNI_SOCKET set to the socket's path.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT (1 << 20) /* bytes of one request or answer */

extern char **environ;
static char buffer[LIMIT + 1];

static int fail(const char *what)
{
	printf("{\"cniVersion\":\"0.4.0\",\"code\":11,\"msg\":\"node agent: %s: %s\"}\n", what,
	       strerror(errno));
	return 1;
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -1;
		data += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static ssize_t read_all(int fd)
{
	size_t used = 0;
	while (used < LIMIT) {
		ssize_t got = read(fd, buffer + used, LIMIT - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	buffer[used] = 0;
	return (ssize_t)used;
}

static int connect_agent(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	strncpy(address.sun_path, PROA_CNI_SOCKET, sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND");
	int deleting = command != NULL && strcmp(command, "DEL") == 0;
	if (command != NULL && strcmp(command, "VERSION") == 0) {
		puts("{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\"]}");
		return 0;
	}
	int fd = connect_agent();
	if (fd < 0)
		return deleting ? 0 : fail("cannot connect");
	for (char **variable = environ; *variable != NULL; variable++) {
		if (strncmp(*variable, "CNI_", 4) != 0)
			continue;
		if (send_all(fd, *variable, strlen(*variable)) || send_all(fd, "\n", 1))
			return deleting ? 0 : fail("cannot send");
	}
	ssize_t size = read_all(STDIN_FILENO);
	if (size < 0)
		return fail("cannot read standard input");
	if (send_all(fd, "\n", 1) || send_all(fd, buffer, (size_t)size) || shutdown(fd, SHUT_WR))
		return deleting ? 0 : fail("cannot send");
	size = read_all(fd);
	char *text = size > 0 ? strchr(buffer, '\n') : NULL;
	if (text == NULL) {
		errno = ECONNRESET;
		return deleting ? 0 : fail("no answer");
	}
	fputs(text + 1, stdout);
	return atoi(buffer);
}
