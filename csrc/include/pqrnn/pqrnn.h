/* The C interface of pqrnn-native: model files run on texts. C99 and C++.
 *
 *   pqrnn_model* model = NULL;
 *   if (pqrnn_load(bytes, size, &model) != PQRNN_OK) {
 *     fprintf(stderr, "%s\n", pqrnn_error());
 *     return 1;
 *   }
 *   pqrnn_text texts[] = {{"turn on the lights", 18}, {"lights on, please", 17}};
 *   float* vectors = malloc(2 * pqrnn_dim(model) * sizeof(float));
 *   if (pqrnn_encode(model, texts, 2, 1, vectors) != PQRNN_OK) ...
 *   pqrnn_free(model);
 *
 * Threads. A model does not change once it is loaded: any number of threads may use one at the same
 * time, and get the same bits as one thread alone. Only pqrnn_free() must come last.
 *
 * Errors. A function that can fail returns a pqrnn_status; nothing is printed, nothing is thrown
 * across this interface, and bad arguments or damaged files never end the program. (Where the
 * library was built without exceptions, as for WebAssembly, a lack of memory does end it.)
 *
 * Texts are UTF-8 of any length, and need not end in a zero byte. Ill-formed bytes are welcome:
 * each ill-formed run counts as U+FFFD.
 */
#ifndef PQRNN_PQRNN_H
#define PQRNN_PQRNN_H

#include <stddef.h>

#if defined(_WIN32)
#define PQRNN_API
#else
#define PQRNN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pqrnn_status {
  PQRNN_OK = 0,
  PQRNN_INVALID_ARGUMENT = 1, /* a null pointer, a bad count, or a text of more than 2^32 tokens */
  PQRNN_CORRUPT_FILE = 2,     /* a model file that is damaged, or of a format this library lacks */
  PQRNN_OUT_OF_MEMORY = 3,
  PQRNN_WRONG_TASK = 4 /* a model that is made for something else, see pqrnn_get_task() */
} pqrnn_status;

typedef enum pqrnn_task {
  PQRNN_EMBEDDING = 0,      /* sentence vectors: pqrnn_encode() */
  PQRNN_CLASSIFICATION = 1, /* labels: pqrnn_classify() */
  PQRNN_PARSING = 2         /* an intent and slots: pqrnn_parse() */
} pqrnn_task;

/* A loaded model. */
typedef struct pqrnn_model pqrnn_model;

/* A text, borrowed for the length of a call. `data` may be null when `size` is 0. */
typedef struct pqrnn_text {
  const char* data; /* UTF-8 */
  size_t size;      /* bytes */
} pqrnn_text;

/* A labelled piece of a text. */
typedef struct pqrnn_slot {
  size_t begin;      /* bytes from the start of the text to the first one of the piece */
  size_t end;        /* and to the first one behind it */
  const char* label; /* zero-terminated UTF-8; lives as long as the model */
} pqrnn_slot;

/* What a text asks for. */
typedef struct pqrnn_parse_result {
  const char* intent; /* zero-terminated UTF-8, "" when the model names no intents; lives as long as
                         the model */
  float score;        /* probability of that intent, 1 when the model names none */
  size_t slot_count;  /* slots of the text, whether there was room for them or not */
} pqrnn_parse_result;

/* Version of the library, e.g. "0.1.0". */
PQRNN_API const char* pqrnn_version(void);

/* What went wrong in the last call of this thread that did not return PQRNN_OK: one sentence,
 * zero-terminated, cut at 255 bytes; "" before the first error. Valid until this thread's next
 * error. */
PQRNN_API const char* pqrnn_error(void);

/* Loads a model from `size` bytes of a model file (safetensors, as pqrnn-native saves it), and
 * stores it in `*model`; free it with pqrnn_free(). The bytes may lie at any address, are read
 * during the call only, and may be freed after it. On an error `*model` is NULL.
 *
 * A damaged or hostile file is an error that costs no more than twice the file's size of memory,
 * and some ten kilobytes.
 *
 * Errors: PQRNN_CORRUPT_FILE, PQRNN_INVALID_ARGUMENT (a null pointer), PQRNN_OUT_OF_MEMORY. */
PQRNN_API pqrnn_status pqrnn_load(const void* data, size_t size, pqrnn_model** model);

/* Frees a model; null is fine. No other call may be using it. */
PQRNN_API void pqrnn_free(pqrnn_model* model);

/* What the model is for. `model` must not be null, here and in the functions below that return no
 * status. */
PQRNN_API pqrnn_task pqrnn_get_task(const pqrnn_model* model);

/* Instruction set whose kernels the model uses, e.g. "avx2" or "generic": the best that this CPU
 * runs, or the one that the environment variable PQRNN_ISA named when the first model was loaded.
 */
PQRNN_API const char* pqrnn_isa(const pqrnn_model* model);

/* Length of a sentence vector (embedding), or the number of labels (classification) or of intents
 * (parsing; 0 when it names none). */
PQRNN_API size_t pqrnn_dim(const pqrnn_model* model);

/* Name of label (classification) or intent (parsing) number `index`, zero-terminated UTF-8, which
 * lives as long as the model; NULL for embedding, or where `index` is not below pqrnn_dim(). */
PQRNN_API const char* pqrnn_label(const pqrnn_model* model, size_t index);

/* Sentence vectors.
 *
 *   texts    [count]
 *   threads  how many threads may work at most, the calling one included; 0: PQRNN_NUM_THREADS from
 *            the environment, or the CPUs this process may run on. They are started once and stay.
 *   vectors  [count, pqrnn_dim()], row-major: each of length 1, so that a dot product is a cosine;
 *            all zeros for a text without tokens
 *
 * A text has the same bits whatever its neighbours and `threads`. On an error the content of
 * `vectors` is undefined.
 *
 * Errors: PQRNN_INVALID_ARGUMENT, PQRNN_WRONG_TASK, PQRNN_OUT_OF_MEMORY. */
PQRNN_API pqrnn_status pqrnn_encode(const pqrnn_model* model, const pqrnn_text* texts, size_t count,
                                    int threads, float* vectors);

/* Probabilities of labels, as pqrnn_encode():
 *
 *   probabilities  [count, pqrnn_dim()], row-major, in the order of pqrnn_label(); rows sum to 1,
 *                  unless a text may have several labels: then each has a probability of its own */
PQRNN_API pqrnn_status pqrnn_classify(const pqrnn_model* model, const pqrnn_text* texts,
                                      size_t count, int threads, float* probabilities);

/* Intent and slots of one text, on the calling thread.
 *
 *   result    not null
 *   slots     [capacity]: the first slots of the text, ascending, not overlapping; may be null when
 *             `capacity` is 0
 *   capacity  how many fit. No text has more than two for each token; when result->slot_count is
 *             larger, the others were left out.
 *
 * Errors: PQRNN_INVALID_ARGUMENT, PQRNN_WRONG_TASK, PQRNN_OUT_OF_MEMORY. */
PQRNN_API pqrnn_status pqrnn_parse(const pqrnn_model* model, pqrnn_text text,
                                   pqrnn_parse_result* result, pqrnn_slot* slots, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* PQRNN_PQRNN_H */
