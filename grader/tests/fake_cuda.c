/* A stand-in for NVIDIA's driver, so that what launches kernels is tested without a GPU.

   Memory of the card is the process's own, and a launch does at once what the name of the kernel says, to the
   arguments (const float *x, float *out, int n). It looks for no more of a text of PTX than that name.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, NO_MEMORY = 2, INVALID_PTX = 218, NOT_FOUND = 500, ILLEGAL = 700, MOST = 64 };
typedef struct { char name[80]; } Function;
typedef struct { struct timespec when; } Event;
static int broken;          /* by an illegal address: every later call says so */
static float forged = -1;   /* milliseconds that a kernel has put in the place of the events' */

int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *version) { *version = 12040; return OK; }
int cuDeviceGet(int *device, int index) { *device = index; return OK; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { *context = &broken; return OK; }
int cuCtxSynchronize(void) { return broken; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 38 ? 1 << 20 : attribute == 88;
    return OK;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == ILLEGAL ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == INVALID_PTX ? "CUDA_ERROR_INVALID_PTX" : "OTHER";
    return OK;
}
int cuGetErrorString(int code, const char **text) { *text = "a fault of the stand-in"; return OK; }

int cuModuleLoadDataEx(void **module, const char *text, unsigned count, int *options, void **values) {
    const char *entry = strstr(text, ".entry ");
    Function *found = calloc(1, sizeof *found);
    if (!entry || sscanf(entry, ".entry %79[A-Za-z0-9_]", found->name) != 1 || !strncmp(found->name, "no_ptx", 6)) {
        snprintf(values[0], (size_t)values[1], "line 1; syntax error");
        return INVALID_PTX;
    }
    if (!strncmp(found->name, "kills", 5)) abort();
    *module = found;
    return OK;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module;
    return strcmp(((Function *)module)->name, name) ? NOT_FOUND : OK;
}
int cuFuncSetAttribute(void *function, int attribute, int value) { return OK; }

int cuMemAlloc_v2(uint64_t *address, size_t size) {
    void *memory = NULL;
    if (broken) return broken;
    if (posix_memalign(&memory, 256, size)) return NO_MEMORY;
    *address = (uint64_t)memory;
    return OK;
}
int cuMemFree_v2(uint64_t address) { free((void *)address); return broken; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { memcpy((void *)to, from, size); return broken; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { memcpy(to, (void *)from, size); return broken; }
int cuMemsetD32_v2(uint64_t to, unsigned word, size_t words) { memset((void *)to, (int)word, 4 * words); return broken; }

int cuEventCreate(void **event, unsigned flags) { *event = calloc(1, sizeof(Event)); return OK; }
int cuEventRecord(void *event, void *stream) { clock_gettime(CLOCK_MONOTONIC, &((Event *)event)->when); return OK; }
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
    struct timespec a = ((Event *)begin)->when, b = ((Event *)end)->when;
    *milliseconds = forged >= 0 ? forged : 1e3f * (b.tv_sec - a.tv_sec) + 1e-6f * (b.tv_nsec - a.tv_nsec);
    return OK;
}

static void rest(long milliseconds) {
    struct timespec time = {0, 1000000 * milliseconds};
    nanosleep(&time, NULL);
}
static int is(const Function *function, const char *word) { return !strncmp(function->name, word, strlen(word)); }

int cuLaunchKernel(Function *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared, void *stream, void **given, void **extra) {
    if (is(function, "nothing")) return OK;
    float *in = *(float **)given[0], *out = *(float **)given[1];
    int n = *(int *)given[2];
    if (is(function, "untouched")) return OK;
    if (is(function, "spins")) for (;;) rest(10);
    if (is(function, "crashes")) return broken = ILLEGAL, OK;
    if (is(function, "slow") || is(function, "forges")) rest(20);
    if (is(function, "forges")) forged = 1e-3f;
    for (int i = 0; i < n; i++) out[i] = 2 * in[i];
    if (is(function, "beyond")) out[n] = 1;
    if (is(function, "before")) out[-1] = 1;
    if (is(function, "changes")) in[0] += 1;
    return OK;
}
