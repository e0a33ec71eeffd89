/*
 * Cuts short two waits of Pacemaker's (3.0.0) that nothing is gained by when a balancer is lost. Preloaded into its
 * daemons (ld.so(8), LD_PRELOAD) and compiled on the balancer itself, by 20-start-cluster.sh. `cut_waits: false` does
 * without.
 *
 * 1. A message that Corosync does not take at once is sent again after 210 ms (crm_cs_flush in lib/cluster/cpg.c). That
 *    happens at each loss of a balancer where there is a third vote: the daemons learn of the loss, speak up, and are
 *    refused while Corosync waits some 30 ms for the vote. Here the call asks again every millisecond, for 100 ms. If
 *    that was in vain it does not wait again before a message has been taken: a daemon that only waits reads nothing,
 *    and Corosync, in real time, does nothing but try to hand it more.
 *
 * 2. The controller of the DC that loses a peer asks for the cluster's state, finds its own updates of it still under
 *    way, calls sleep(1) and asks again (do_pe_invoke_callback in daemons/controld/controld_schedulerd.c). Here that
 *    takes 30 ms; it asks again as often as it must.
 *
 * No headers: tcc comes without the C library's.
 */

typedef unsigned long long cpg_handle_t;
struct iovec;
struct interval {
    long seconds;
    long nanoseconds;
};

extern void *dlsym(void *library, const char *name);
extern int nanosleep(const struct interval *wanted, struct interval *left);
extern int strcmp(const char *one, const char *other);
extern char *program_invocation_short_name;

#define RTLD_NEXT ((void *) -1L)
#define CS_ERR_TRY_AGAIN 6
#define PATIENCE 100 /* milliseconds, about */

static const struct interval millisecond = {0, 1000000};
static const struct interval moment = {0, 30000000};

int cpg_mcast_joined(cpg_handle_t handle, int guarantee, const struct iovec *parts, unsigned int count)
{
    static int (*send)(cpg_handle_t, int, const struct iovec *, unsigned int);
    static int patience = PATIENCE;
    int answer;

    if (send == 0)
        send = dlsym(RTLD_NEXT, "cpg_mcast_joined");
    while ((answer = send(handle, guarantee, parts, count)) == CS_ERR_TRY_AGAIN && patience > 0) {
        patience--;
        nanosleep(&millisecond, 0);
    }
    if (answer != CS_ERR_TRY_AGAIN)
        patience = PATIENCE;
    return answer;
}

unsigned int sleep(unsigned int seconds)
{
    struct interval wanted = {seconds, 0};

    if (strcmp(program_invocation_short_name, "pacemaker-controld") == 0)
        wanted = moment;
    nanosleep(&wanted, 0);
    return 0;
}
