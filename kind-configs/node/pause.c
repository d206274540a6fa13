/* The program of a pod's first container: it does nothing but hold the pod's namespaces and reap orphans. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return 1;
  for (;;) {
    int signal = sigwaitinfo(&set, NULL);
    if (signal == SIGTERM || signal == SIGINT) return 0;
    if (signal < 0 && errno != EINTR) return 1;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  }
}
