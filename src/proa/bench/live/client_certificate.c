/* Gives wrk a client certificate, which it has no option for: preloaded, it puts the certificate
 * and key that WRK_CERTIFICATE and WRK_KEY name into every TLS context that is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { PEM = 1 }; /* SSL_FILETYPE_PEM */

void *SSL_CTX_new(const void *method) {
    void *(*make)(const void *) = dlsym(RTLD_NEXT, "SSL_CTX_new");
    int (*chain)(void *, const char *) = dlsym(RTLD_NEXT, "SSL_CTX_use_certificate_chain_file");
    int (*key)(void *, const char *, int) = dlsym(RTLD_NEXT, "SSL_CTX_use_PrivateKey_file");
    const char *certificate = getenv("WRK_CERTIFICATE"), *secret = getenv("WRK_KEY");
    void *context = make(method);
    if (context && certificate && secret &&
        (chain(context, certificate) != 1 || key(context, secret, PEM) != 1)) {
        fprintf(stderr, "%s, %s: no certificate and key\n", certificate, secret);
        exit(1);
    }
    return context;
}
