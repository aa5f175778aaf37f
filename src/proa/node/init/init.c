/* Process 1 of a container that asks for an init: "proa-init -- COMMAND ARGUMENTS".
 *
 * It starts the command in a process group of its own (in the foreground of the terminal, if there
 * is one), hands on every signal it gets, reaps what is orphaned to it, and exits as the command
 * did: with its status, or with 128 plus the signal that ended it. A command that cannot be started
 * gives 127 where it is not found and 126 otherwise, as a shell does. node/init/build.py compiles it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const int own_faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static int run(char **command, const sigset_t *before)
{
	setpgid(0, 0);
	signal(SIGTTOU, SIG_IGN); /* taking the terminal from the background must not stop us */
	if (isatty(STDIN_FILENO))
		tcsetpgrp(STDIN_FILENO, getpgrp());
	signal(SIGTTOU, SIG_DFL);
	sigprocmask(SIG_SETMASK, before, NULL);
	execvp(command[0], command);
	int missing = errno == ENOENT;
	fprintf(stderr, "init: %s: %s\n", command[0], strerror(errno));
	return missing ? 127 : 126;
}

/* Reap everything that has ended; returns 1 once the command has, with its exit status. */
static int reap(pid_t command, int *status)
{
	int ended = 0;
	for (;;) {
		int how;
		pid_t pid = waitpid(-1, &how, WNOHANG);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return ended;
		if (pid != command)
			continue;
		ended = 1;
		*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	}
}

int main(int argc, char **argv)
{
	char **command = argv + 1;
	if (argc > 1 && strcmp(argv[1], "--") == 0)
		command++;
	if (*command == NULL) {
		fputs("usage: proa-init -- COMMAND [ARGUMENTS]\n", stderr);
		return 2;
	}
	sigset_t all, before;
	sigfillset(&all);
	for (size_t i = 0; i < sizeof own_faults / sizeof *own_faults; i++)
		sigdelset(&all, own_faults[i]);
	sigdelset(&all, SIGTTOU);
	sigdelset(&all, SIGTTIN);
	sigprocmask(SIG_BLOCK, &all, &before);
	if (getpid() != 1) /* in a shared process namespace */
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t child = fork();
	if (child < 0) {
		perror("init: fork");
		return 126;
	}
	if (child == 0)
		return run(command, &before);
	int status = 0;
	while (!reap(child, &status)) {
		int number = sigwaitinfo(&all, NULL);
		if (number > 0 && number != SIGCHLD)
			kill(child, number);
	}
	return status;
}
