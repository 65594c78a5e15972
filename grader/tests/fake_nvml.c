/* A stand-in for NVIDIA's management library, so that what reads a GPU from outside is tested without one.

   What it tells stands in the file that FAKE_NVML names, read anew at each call:
       gpu UUID MINOR BUS USED_MIB TOTAL_MIB MIG
       process INDEX PID MIB
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, SMALL = 7, UNKNOWN = 999, MOST = 16 };
static const unsigned long long MIB = 1 << 20;

typedef struct { char uuid[80]; unsigned minor, bus; unsigned long long used, total; int mig; } Gpu;
typedef struct { unsigned index, pid; unsigned long long used; } Process;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } ProcessInfo;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char name[32]; } Pci;
typedef struct { unsigned long long total, free, used; } Memory;

static Gpu gpus[MOST];
static Process processes[MOST];
static int count, running;

static int state(void) {
    char line[256];
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "", "r");
    count = running = 0;
    if (!file) return UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        Gpu *gpu = &gpus[count];
        Process *process = &processes[running];
        if (sscanf(line, "gpu %79s %u %x %llu %llu %d", gpu->uuid, &gpu->minor, &gpu->bus, &gpu->used, &gpu->total,
                   &gpu->mig) == 6) count++;
        if (sscanf(line, "process %u %u %llu", &process->index, &process->pid, &process->used) == 3) running++;
    }
    fclose(file);
    return OK;
}

/* A handle is the index of its GPU, and one: it may not be null. */
static Gpu *of(void *handle) { return state() ? NULL : &gpus[(long)handle - 1]; }

int nvmlInitWithFlags(unsigned flags) { return state() ? 9 : OK; } /* the driver is not loaded */
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int result) { return result == 15 ? "GPU is lost" : "a fault of the stand-in"; }
int nvmlDeviceGetCount_v2(unsigned *found) { int failed = state(); *found = count; return failed; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)(long)(index + 1); return OK; }
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    Gpu *gpu = of(handle);
    if (!gpu) return UNKNOWN;
    snprintf(text, size, "%s", gpu->uuid);
    return OK;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { snprintf(text, size, "Stand-in"); return OK; }
int nvmlDeviceGetMinorNumber(void *handle, unsigned *minor) {
    Gpu *gpu = of(handle);
    if (!gpu) return UNKNOWN;
    *minor = gpu->minor;
    return OK;
}
int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    Gpu *gpu = of(handle);
    if (!gpu) return UNKNOWN;
    memset(pci, 0, sizeof *pci);
    pci->bus = gpu->bus;
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    Gpu *gpu = of(handle);
    if (!gpu) return 15;
    memory->total = gpu->total * MIB;
    memory->used = gpu->used * MIB;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    Gpu *gpu = of(handle);
    if (!gpu) return UNKNOWN;
    *current = *pending = gpu->mig > 0;
    return gpu->mig < 0 ? UNSUPPORTED : OK;
}
int nvmlDeviceGetComputeMode(void *handle, int *mode) { *mode = 0; return OK; }
int nvmlDeviceGetClockInfo(void *handle, int kind, unsigned *mhz) { *mhz = kind == 1 ? 1980 : 2619; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *found, ProcessInfo *infos) {
    unsigned room = *found;
    if (state()) return UNKNOWN;
    *found = 0;
    for (int i = 0; i < running; i++)
        if (processes[i].index == (long)handle - 1) {
            if (*found < room) infos[*found] = (ProcessInfo){processes[i].pid, processes[i].used * MIB, -1u, -1u};
            ++*found;
        }
    return *found > room ? SMALL : OK;
}
