// Products of a few rows for XLA on the CPU. Writing a text is such products, which read each weight, key and value from memory once.
// For eight rows XLA's own take nearly twice as long as reading does.

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "seam.h"

// A product is y = x wᵀ, of x [rows, in], w [out, in] and y [rows, out]; or a batch of y = x w, with w [in, out].
typedef struct product product_t;
struct product {
	const float *x, *w;
	float *y;
	long rows, in, out;
	long pieces; // that threads take
	void (*piece)(const product_t *, long piece);
};

enum {
	PIECE = 48,  // rows of w in a piece of a single product
	CHUNK = 768, // columns of x of which eight rows stay in the nearest cache
};

static void (*linear)(const product_t *, long);
static void (*batched)(const product_t *, long);

#if defined(__x86_64__) && !defined(__clang__) // which has other pragmas
#include <immintrin.h>

#define WIDTH 8
#define ROWS 2
#define NAME(x) avx2_##x
#pragma GCC push_options
#pragma GCC target("avx2,fma")

static inline __attribute__((always_inline)) void avx2_totals(const __m256 *v, float *total) {
	for (int i = 0; i < 8; i++) {
		total[i] = ((v[i][0] + v[i][4]) + (v[i][1] + v[i][5])) + ((v[i][2] + v[i][6]) + (v[i][3] + v[i][7]));
	}
}

#include "few_block.h"
#pragma GCC pop_options

#undef WIDTH
#undef ROWS
#undef NAME
#define WIDTH 16
#define ROWS 4
#define NAME(x) avx512_##x
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,fma")

// avx512_totals adds up each of 16 vectors. Four times two halves are added, of a vector and the next: so there are half as many vectors.
static inline __attribute__((always_inline)) void avx512_totals(const __m512 *v, float *total) {
	__m512 a[8], b[4], c[2];
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) {
		a[i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]) + _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		__m512d x = (__m512d)a[2 * i], y = (__m512d)a[2 * i + 1];
		b[i] = (__m512)_mm512_unpacklo_pd(x, y) + (__m512)_mm512_unpackhi_pd(x, y);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++) {
		c[i] = _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x44) + _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xee);
	}
	_mm512_storeu_ps(total, _mm512_shuffle_f32x4(c[0], c[1], 0x88) + _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
}

#include "few_block.h"
#pragma GCC pop_options

int few_use(enum vectors vectors) {
	if (vectors == AVX512_VECTORS && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
		linear = avx512_linear, batched = avx512_batched;
		return 1;
	}
	if (vectors == AVX2_VECTORS && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
		linear = avx2_linear, batched = avx2_batched;
		return 1;
	}
	return 0;
}
#else
int few_use(enum vectors vectors) { return 0; }
#endif

// The product under way. Its state is a ticket, odd while threads may join, in the upper half, and how many have in the lower.
static product_t product;
static atomic_long next; // piece
static atomic_uint state;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; // at a time has helpers

enum { TICKET = 1 << 16 };

static void take_pieces(const product_t *p) {
	long i;
	while ((i = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)) < p->pieces) {
		p->piece(p, i);
	}
}

// Helpers look for the next product for a while, as there are hundreds in a token, and then sleep. They let others run meanwhile:
// XLA's threads are as many as the processor's.
static const long AWAKE = 500000; // ns
static pthread_mutex_t bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static atomic_int asleep;

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

// joinable says whether there is a product that threads may join, and it isn't the one of that ticket.
static int joinable(unsigned s, unsigned seen) { return (s / TICKET) % 2 == 1 && s / TICKET != seen; }

static void *help(void *unused) {
	unsigned seen = 0;
	for (;;) {
		unsigned s = atomic_load(&state);
		for (long since = now(); !joinable(s, seen); s = atomic_load(&state)) {
			if (now() - since < AWAKE) {
				sched_yield();
				continue;
			}
			pthread_mutex_lock(&bed);
			atomic_fetch_add(&asleep, 1);
			if (!joinable(atomic_load(&state), seen)) {
				pthread_cond_wait(&woken, &bed);
			}
			atomic_fetch_sub(&asleep, 1);
			pthread_mutex_unlock(&bed);
			since = now(); // more products come, even if that one is past
		}
		if (atomic_compare_exchange_strong(&state, &s, s + 1)) {
			seen = s / TICKET;
			take_pieces(&product);
			atomic_fetch_sub(&state, 1);
		}
	}
	return NULL;
}

static void multiply(const product_t *p) {
	if (p->pieces == 1 || pthread_mutex_trylock(&one) != 0) {
		for (long i = 0; i < p->pieces; i++) {
			p->piece(p, i);
		}
		return;
	}
	product = *p;
	atomic_store(&next, 0);
	atomic_fetch_add(&state, TICKET);
	if (atomic_load(&asleep) > 0) {
		pthread_mutex_lock(&bed);
		pthread_cond_broadcast(&woken);
		pthread_mutex_unlock(&bed);
	}
	take_pieces(p);
	atomic_fetch_add(&state, TICKET);
	while (atomic_load(&state) % TICKET > 0) {
		sched_yield();
	}
	pthread_mutex_unlock(&one);
}

// The parts of XLA's foreign function interface that the product looks at (xla/ffi/api/c_api.h).
typedef struct {
	size_t size;
	void *extensions;
	int type;
	float *data;
	int64_t rank;
	int64_t *dims;
} array_t;

typedef struct {
	size_t size;
	void *extensions;
	int64_t count;
	int *types;
	array_t **array;
} arrays_t;

typedef struct {
	size_t size;
	int type;
	void *next;
	struct {
		size_t size;
		struct {
			size_t size;
			void *extensions;
			int major, minor;
		} version;
	} * metadata;
} question_t;

enum { ASKS_METADATA = 1 };

typedef struct {
	size_t size;
	question_t *question;
	void *api, *context;
	int stage;
	arrays_t in, out;
} call_t;

static void *called(call_t *call) {
	if (call->question != NULL && call->question->type == ASKS_METADATA) {
		call->question->metadata->version.major = 0;
		call->question->metadata->version.minor = 1; // the oldest that XLA speaks
		return NULL;
	}
	const array_t *x = call->in.array[0], *w = call->in.array[1];
	product_t p = {.x = x->data, .w = w->data, .y = call->out.array[0]->data};
	if (w->rank == 2) {
		p.rows = 1;
		for (int i = 0; i + 1 < x->rank; i++) {
			p.rows *= x->dims[i];
		}
		p.in = w->dims[1], p.out = w->dims[0];
		p.piece = linear, p.pieces = (p.out + PIECE - 1) / PIECE;
	} else {
		p.rows = x->dims[1], p.in = w->dims[1], p.out = w->dims[2];
		p.piece = batched, p.pieces = w->dims[0];
	}
	multiply(&p);
	return NULL;
}

// start makes helpers, so that there are so many threads with the one that calls.
static void start(int threads) {
	enum { MOST = 16 }; // which read as fast as memory does
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before); // signals are for Go's threads
	for (int i = 1; i < threads && i < MOST; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, help, NULL) == 0) {
			pthread_detach(thread);
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int few_register(const table_t *plugin, int threads) {
	struct extension {
		size_t size;
		int type;
		struct extension *next;
		void *types, *data;
		error_t *(*handler)(void *args);
	} *e = plugin->extensions;
	enum { FOREIGN_FUNCTIONS = 5 };
	while (e != NULL && e->type != FOREIGN_FUNCTIONS) {
		e = e->next;
	}
	if (e == NULL || e->size < sizeof *e || (!few_use(AVX512_VECTORS) && !few_use(AVX2_VECTORS))) {
		return 0;
	}
	static const char name[] = FEW_TARGET, platform[] = "Host";
	struct {
		size_t size;
		const char *name;
		size_t name_size;
		void *handler;
		const char *platform;
		size_t platform_size;
		int traits;
	} args = {sizeof args, name, sizeof name - 1, (void *)called, platform, sizeof platform - 1, 0};
	error_t *error = e->handler(&args); // of another version of the interface, which expects more
	if (error != NULL) {
		free(seam_message(CPU_SLOT, error));
		return 0;
	}
	start(threads);
	return 1;
}
