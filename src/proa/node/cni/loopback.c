/* The CNI plugin "loopback" of Proa: sets the device lo of a namespace up.
 *
 * containerd runs it for every sandbox before and after the forwarder. The usual plugin of this name
 * does the same in a runtime that takes longer to start than a container's process does.
 * node/cni/build.py compiles this. Nothing is to be undone: the namespace goes away as a whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	printf("{\"cniVersion\":\"0.4.0\",\"code\":11,\"msg\":\"loopback: %s: %s\"}\n", what,
	       strerror(errno));
	return 1;
}

static int raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0)
		return -1;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request);
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND"), *namespace = getenv("CNI_NETNS");
	if (command == NULL)
		return fail("CNI_COMMAND is missing");
	if (strcmp(command, "VERSION") == 0) {
		puts("{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\"]}");
		return 0;
	}
	if (strcmp(command, "ADD") != 0)
		return 0;
	int fd = namespace == NULL ? -1 : open(namespace, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		return fail("cannot enter the namespace");
	if (raise_loopback() != 0)
		return fail("cannot set lo up");
	printf("{\"cniVersion\":\"0.3.1\",\"interfaces\":[{\"name\":\"lo\",\"sandbox\":\"%s\"}],"
	       "\"ips\":[{\"version\":\"4\",\"address\":\"127.0.0.1/8\",\"interface\":0}],\"dns\":{}}\n",
	       namespace);
	return 0;
}
