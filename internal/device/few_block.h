// The inner loops of few.c for vectors of WIDTH floats. Included once for each width, with NAME(x) naming its own and 4*ROWS sums
// fitting into the processor's registers, which NAME(totals) adds up.

typedef float NAME(vector) __attribute__((vector_size(4 * WIDTH)));
typedef float NAME(loaded) __attribute__((vector_size(4 * WIDTH), aligned(4))); // from any address

// linear_block adds to c elements of r rows of y what n columns of x and w make. Meanwhile it fetches the rows of w that follow: of
// those of a single row of x, which are many in a short time, the processor sees by itself that they follow.
static inline __attribute__((always_inline)) void NAME(linear_block)(const product_t *p, const float *x, const float *w, float *y, long n, const int r, const int c) {
	NAME(vector) sum[16];
#pragma GCC unroll 16
	for (int i = 0; i < r * c; i++) {
		sum[i] = (NAME(vector)){0};
	}
	long k = 0;
	for (; k + WIDTH <= n; k += WIDTH) {
		NAME(vector) a[4];
#pragma GCC unroll 4
		for (int j = 0; j < c; j++) {
			a[j] = *(const NAME(loaded) *)(w + j * p->in + k);
			if (r > 1) {
				__builtin_prefetch(w + (c + j) * p->in + k);
			}
		}
#pragma GCC unroll 4
		for (int i = 0; i < r; i++) {
			NAME(vector) b = *(const NAME(loaded) *)(x + i * p->in + k);
#pragma GCC unroll 4
			for (int j = 0; j < c; j++) {
				sum[i * c + j] += a[j] * b;
			}
		}
	}
	float total[16];
	if (r == ROWS && c == 4) {
		NAME(totals)(sum, total);
	} else {
		for (int i = 0; i < r * c; i++) {
			total[i] = 0;
			for (int l = 0; l < WIDTH; l++) {
				total[i] += sum[i][l];
			}
		}
	}
	for (int i = 0; i < r; i++) {
		for (int j = 0; j < c; j++) {
			float s = total[i * c + j];
			for (long l = k; l < n; l++) {
				s += x[i * p->in + l] * w[j * p->in + l];
			}
			y[i * p->out + j] += s;
		}
	}
}

// linear computes PIECE columns of y.
static void NAME(linear)(const product_t *p, long piece) {
	long from = piece * PIECE, to = from + PIECE < p->out ? from + PIECE : p->out;
	for (long i = 0; i < p->rows; i++) {
		memset(p->y + i * p->out + from, 0, (to - from) * sizeof(float));
	}
	for (long k = 0; k < p->in; k += CHUNK) {
		long n = p->in - k < CHUNK ? p->in - k : CHUNK;
		for (long o = from; o < to;) {
			const float *w = p->w + o * p->in + k;
			int c = o + 4 <= to ? 4 : 1;
			for (long i = 0; i < p->rows;) {
				const float *x = p->x + i * p->in + k;
				float *y = p->y + i * p->out + o;
				if (i + ROWS <= p->rows && c == 4) {
					NAME(linear_block)(p, x, w, y, n, ROWS, 4);
					i += ROWS;
				} else if (c == 4) {
					NAME(linear_block)(p, x, w, y, n, 1, 4);
					i++;
				} else {
					NAME(linear_block)(p, x, w, y, n, 1, 1);
					i++;
				}
			}
			o += c;
		}
	}
}

// batched_block computes c vectors of r rows of y.
static inline __attribute__((always_inline)) void NAME(batched_block)(const product_t *p, const float *x, const float *w, float *y, const int r, const int c) {
	NAME(vector) sum[16];
#pragma GCC unroll 16
	for (int i = 0; i < r * c; i++) {
		sum[i] = (NAME(vector)){0};
	}
	for (long k = 0; k < p->in; k++) {
		NAME(vector) a[4];
#pragma GCC unroll 4
		for (int j = 0; j < c; j++) {
			a[j] = *(const NAME(loaded) *)(w + k * p->out + j * WIDTH);
		}
#pragma GCC unroll 4
		for (int i = 0; i < r; i++) {
#pragma GCC unroll 4
			for (int j = 0; j < c; j++) {
				sum[i * c + j] += a[j] * x[i * p->in + k];
			}
		}
	}
#pragma GCC unroll 4
	for (int i = 0; i < r; i++) {
#pragma GCC unroll 4
		for (int j = 0; j < c; j++) {
			*(NAME(loaded) *)(y + i * p->out + j * WIDTH) = sum[i * c + j];
		}
	}
}

// batched_rows is batched_block for up to four rows.
static inline __attribute__((always_inline)) void NAME(batched_rows)(const product_t *p, const float *x, const float *w, float *y, int r, const int c) {
	switch (r) {
	case 1: NAME(batched_block)(p, x, w, y, 1, c); break;
	case 2: NAME(batched_block)(p, x, w, y, 2, c); break;
	case 3: NAME(batched_block)(p, x, w, y, 3, c); break;
	case 4: NAME(batched_block)(p, x, w, y, 4, c); break;
	}
}

// batched computes the product of a number of the batch.
static void NAME(batched)(const product_t *p, long piece) {
	const float *w = p->w + piece * p->in * p->out;
	for (long i = 0; i < p->rows; i += 4) {
		const float *x = p->x + (piece * p->rows + i) * p->in;
		float *y = p->y + (piece * p->rows + i) * p->out;
		int r = p->rows - i < 4 ? p->rows - i : 4;
		long o = 0;
		for (; o + ROWS * WIDTH <= p->out; o += ROWS * WIDTH) {
			NAME(batched_rows)(p, x, w + o, y + o, r, ROWS);
		}
		for (; o + WIDTH <= p->out; o += WIDTH) {
			NAME(batched_rows)(p, x, w + o, y + o, r, 1);
		}
		for (; o < p->out; o++) {
			for (int j = 0; j < r; j++) {
				float s = 0;
				for (long k = 0; k < p->in; k++) {
					s += x[j * p->in + k] * w[k * p->out + o];
				}
				y[j * p->out + o] = s;
			}
		}
	}
}
