/* How close in meaning two sentences are: the cosine of their vectors.
 *
 *   similarity MODEL "the first sentence" "the second one"
 *
 * MODEL is an encoder, such as python/pqrnn_native/models/default.safetensors.
 */
#include <pqrnn/pqrnn.h>
#include <string.h>

#include "read_file.h"

int main(int count, char** arguments) {
  pqrnn_model* model = NULL;
  pqrnn_text texts[2];
  pqrnn_status status;
  float* vectors = NULL;
  float cosine = 0.0f;
  void* file;
  size_t size, dim, i;

  if (count != 4) {
    fprintf(stderr, "usage: %s MODEL TEXT TEXT\n", arguments[0]);
    return 2;
  }
  file = read_file(arguments[1], &size);
  if (!file) {
    fprintf(stderr, "cannot read %s\n", arguments[1]);
    return 1;
  }
  status = pqrnn_load(file, size, &model);
  free(file); /* the model keeps nothing of it */
  if (status == PQRNN_OK) {
    dim = pqrnn_dim(model);
    vectors = malloc(2 * dim * sizeof(float));
    if (!vectors) status = PQRNN_OUT_OF_MEMORY;
  }
  if (status == PQRNN_OK) {
    for (i = 0; i < 2; ++i) {
      texts[i].data = arguments[2 + i];
      texts[i].size = strlen(arguments[2 + i]);
    }
    status = pqrnn_encode(model, texts, 2, 1, vectors);
  }
  if (status == PQRNN_OK) {
    /* Vectors have length 1, so that their dot product is the cosine. */
    for (i = 0; i < dim; ++i) cosine += vectors[i] * vectors[dim + i];
    printf("%.4f\n", cosine);
  } else {
    fprintf(stderr, "%s\n", pqrnn_error());
  }
  free(vectors);
  pqrnn_free(model);
  return status == PQRNN_OK ? 0 : 1;
}
