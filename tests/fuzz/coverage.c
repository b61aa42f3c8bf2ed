/* Tell libFuzzer which octets reach something new in the compiled rooms.
 *
 * gcc has no inline counters, but calls __sanitizer_cov_trace_pc at every branch (-fsanitize-coverage=trace-pc). Here
 * each pair of neighbouring branches is a counter, and the counters are handed to libFuzzer as if a module had them.
 * Preloaded by `./dev fuzz`; does nothing until sluice_coverage_begin. Comparisons are passed on as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

enum { COUNTERS = 1 << 16 };

static uint8_t counters[COUNTERS];
static uintptr_t table[2 * COUNTERS];
static uintptr_t before;
static void (*take)(uint8_t *, uint8_t *);
static void (*take_table)(const uintptr_t *, const uintptr_t *);
static void (*compare1)(uint8_t, uint8_t), (*compare2)(uint16_t, uint16_t);
static void (*compare4)(uint32_t, uint32_t), (*compare8)(uint64_t, uint64_t);

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t here = (uintptr_t)__builtin_return_address(0);
    uintptr_t place = (here ^ before) & (COUNTERS - 1);
    before = here >> 1;
    if (counters[place] != 255)
        counters[place]++;
}

void __sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b) { if (compare1) compare1(a, b); }
void __sanitizer_cov_trace_cmp2(uint16_t a, uint16_t b) { if (compare2) compare2(a, b); }
void __sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b) { if (compare4) compare4(a, b); }
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b) { if (compare8) compare8(a, b); }
void __sanitizer_cov_trace_const_cmp1(uint8_t a, uint8_t b) { if (compare1) compare1(a, b); }
void __sanitizer_cov_trace_const_cmp2(uint16_t a, uint16_t b) { if (compare2) compare2(a, b); }
void __sanitizer_cov_trace_const_cmp4(uint32_t a, uint32_t b) { if (compare4) compare4(a, b); }
void __sanitizer_cov_trace_const_cmp8(uint64_t a, uint64_t b) { if (compare8) compare8(a, b); }
void __sanitizer_cov_trace_cmpf(float a, float b) { (void)a; (void)b; }
void __sanitizer_cov_trace_cmpd(double a, double b) { (void)a; (void)b; }
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases) { (void)value; (void)cases; }

/* AddressSanitizer has these too, and does nothing in them; atheris asks for them by name for Python's own counters. */
void __sanitizer_cov_8bit_counters_init(uint8_t *from, uint8_t *to) { if (take) take(from, to); }
void __sanitizer_cov_pcs_init(const uintptr_t *from, const uintptr_t *to) { if (take_table) take_table(from, to); }

/* places: room for all counters, or 0; -> how many were not 0, with their places in order; all are 0 afterwards. */
size_t sluice_coverage_of_input(uint32_t *places)
{
    size_t found = 0;
    for (uint32_t place = 0; place < COUNTERS; place++) {
        if (counters[place] && places)
            places[found++] = place;
        counters[place] = 0;
    }
    before = 0;
    return found;
}

/* core: the handle of the library that holds libFuzzer; -> 1, or 0 where it lacks what is needed. */
int sluice_coverage_begin(void *core)
{
    take = dlsym(core, "__sanitizer_cov_8bit_counters_init");
    take_table = dlsym(core, "__sanitizer_cov_pcs_init");
    if (!take || !take_table)
        return 0;
    for (int i = 0; i < COUNTERS; i++) {
        table[2 * i] = 0x10000 + 16 * (uintptr_t)i;
        table[2 * i + 1] = 0;
    }
    take(counters, counters + COUNTERS);
    take_table(table, table + 2 * COUNTERS);
    compare1 = dlsym(core, "__sanitizer_cov_trace_cmp1");
    compare2 = dlsym(core, "__sanitizer_cov_trace_cmp2");
    compare4 = dlsym(core, "__sanitizer_cov_trace_cmp4");
    compare8 = dlsym(core, "__sanitizer_cov_trace_cmp8");
    return 1;
}
