// A driver of a GPU that does not exist: memory of the device is memory of the host, copies are made, and
// kernels are counted instead of run. What is computed is therefore meaningless, but not what is asked for.
//
// Whenever the program waits for the device, one interval ends and the next begins. At exit the intervals
// are written to the file that HEBBIAN_GPU_COUNTS names, equal ones together, as lines of
//     <times> <kernels> <products> <uploads> <bytes uploaded> <reads> <copies> <zeroed> <kernel>:<count> ...
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_NAMES 512
#define MOST_INTERVALS 256

enum { KERNELS, PRODUCTS, UPLOADS, UPLOADED, READS, COPIES, ZEROED, COUNTS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t counts[COUNTS];
static char *names[MOST_NAMES];
static size_t launched[MOST_NAMES], known;
static struct {
    char *text;
    size_t times;
} intervals[MOST_INTERVALS];
static size_t ended;

static void count(int what, size_t by) {
    pthread_mutex_lock(&lock);
    counts[what] += by;
    pthread_mutex_unlock(&lock);
}

static void end_interval(void) {
    static char text[(MOST_NAMES + 8) * 96]; // a name is cut, a number has 20 digits
    pthread_mutex_lock(&lock);
    char *at = text;
    for (int what = 0; what < COUNTS; what++)
        at += sprintf(at, "%zu ", counts[what]);
    for (size_t name = 0; name < known; name++)
        if (launched[name])
            at += sprintf(at, "%.60s:%zu ", names[name], launched[name]);
    size_t same = 0;
    while (same < ended && strcmp(intervals[same].text, text))
        same++;
    if (same == ended && ended < MOST_INTERVALS)
        intervals[ended++].text = strdup(text);
    if (same < ended)
        intervals[same].times++;
    memset(counts, 0, sizeof counts);
    memset(launched, 0, sizeof launched);
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void write_intervals(void) {
    const char *path = getenv("HEBBIAN_GPU_COUNTS");
    FILE *file = path && ended ? fopen(path, "w") : NULL;
    if (!file)
        return;
    for (size_t at = 0; at < ended; at++)
        fprintf(file, "%zu %s\n", intervals[at].times, intervals[at].text);
    fclose(file);
}

// What the stand-ins of the other libraries call: a matrix product.
void stand_in_product(void) { count(PRODUCTS, 1); }

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *devices) { return *devices = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, ordinal ? 101 : 0; }
int cuDeviceGetName(char *name, int length, int device) {
    return snprintf(name, length, "stand-in that only counts"), 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = 1, 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)1, 0; }
int cuCtxGetCurrent(void **context) { return *context = (void *)1, 0; }
int cuStreamCreate(void **stream, unsigned flags) { return *stream = (void *)2, 0; }
int cuStreamIsCapturing(void *stream, int *status) { return *status = 0, 0; }
int cuEventCreate(void **event, unsigned flags) { return *event = (void *)3, 0; }
int cuGetErrorName(int error, const char **name) { return *name = "an error of the stand-in", 0; }
int cuGetErrorString(int error, const char **text) { return *text = "an error of the stand-in", 0; }

int cuMemGetInfo_v2(size_t *available, size_t *total) {
    return *available = *total = (size_t)16 << 30, 0;
}
int cuMemAlloc_v2(uint64_t *at, size_t bytes) {
    return *at = (uint64_t)calloc(1, bytes ? bytes : 1), *at ? 0 : 2;
}
int cuMemAllocAsync(uint64_t *at, size_t bytes, void *stream) { return cuMemAlloc_v2(at, bytes); }
int cuMemFree_v2(uint64_t at) { return free((void *)at), 0; }
int cuMemFreeAsync(uint64_t at, void *stream) { return free((void *)at), 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    count(UPLOADS, 1);
    count(UPLOADED, bytes);
    return memcpy((void *)to, from, bytes), 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, NULL);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    count(READS, 1);
    return memcpy(to, (void *)from, bytes), 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    return cuMemcpyDtoHAsync_v2(to, from, bytes, NULL);
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    count(COPIES, 1);
    return memmove((void *)to, (void *)from, bytes), 0;
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void *stream) {
    count(ZEROED, 1);
    return memset((void *)at, value, bytes), 0;
}

int cuModuleLoadData(void **module, const void *image) { return *module = (void *)4, 0; }
// A function is the place of its name.
int cuModuleGetFunction(void **function, void *module, const char *name) {
    pthread_mutex_lock(&lock);
    size_t at = 0;
    while (at < known && strcmp(names[at], name))
        at++;
    if (at == known && known < MOST_NAMES)
        names[known++] = strdup(name);
    pthread_mutex_unlock(&lock);
    return *function = (void *)(at + 1), at < known ? 0 : 2;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads_x,
                   unsigned threads_y, unsigned threads_z, unsigned shared, void *stream,
                   void **arguments, void **extra) {
    pthread_mutex_lock(&lock);
    counts[KERNELS]++;
    launched[(size_t)function - 1]++;
    pthread_mutex_unlock(&lock);
    return 0;
}

int cuCtxSynchronize(void) { return end_interval(), 0; }
int cuStreamSynchronize(void *stream) { return end_interval(), 0; }
