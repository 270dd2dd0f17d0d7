/* What each line of standard input is about: its most probable label, or its intent and slots.
 *
 *   echo "set an alarm for eight" | understand MODEL
 *
 * MODEL is a classifier or a parser, as pqrnn-native train saves it. A parser prints one line for
 * each text: intent, probability, and begin, end and label of each slot, in bytes.
 */
#include <pqrnn/pqrnn.h>
#include <string.h>

#include "read_file.h"

enum { MOST_BYTES = 4096, MOST_SLOTS = 64 };

static pqrnn_status classify(const pqrnn_model* model, pqrnn_text text, float* probabilities) {
  size_t i, best = 0;
  pqrnn_status status = pqrnn_classify(model, &text, 1, 1, probabilities);
  if (status != PQRNN_OK) return status;
  for (i = 1; i < pqrnn_dim(model); ++i) {
    if (probabilities[i] > probabilities[best]) best = i;
  }
  printf("%s %.4f\n", pqrnn_label(model, best), probabilities[best]);
  return PQRNN_OK;
}

static pqrnn_status parse(const pqrnn_model* model, pqrnn_text text) {
  pqrnn_slot slots[MOST_SLOTS];
  pqrnn_parse_result result;
  size_t i;
  pqrnn_status status = pqrnn_parse(model, text, &result, slots, MOST_SLOTS);
  if (status != PQRNN_OK) return status;
  printf("%s %.4f", result.intent, result.score);
  for (i = 0; i < result.slot_count && i < MOST_SLOTS; ++i) {
    printf(" %lu-%lu %s", (unsigned long)slots[i].begin, (unsigned long)slots[i].end,
           slots[i].label);
  }
  printf("\n");
  return PQRNN_OK;
}

int main(int count, char** arguments) {
  char line[MOST_BYTES];
  pqrnn_model* model = NULL;
  pqrnn_status status;
  pqrnn_text text;
  float* probabilities = NULL;
  void* file;
  size_t size;

  if (count != 2) {
    fprintf(stderr, "usage: %s MODEL < TEXTS\n", arguments[0]);
    return 2;
  }
  file = read_file(arguments[1], &size);
  if (!file) {
    fprintf(stderr, "cannot read %s\n", arguments[1]);
    return 1;
  }
  status = pqrnn_load(file, size, &model);
  free(file);
  if (status == PQRNN_OK && pqrnn_get_task(model) == PQRNN_CLASSIFICATION) {
    probabilities = malloc(pqrnn_dim(model) * sizeof(float));
    if (!probabilities) status = PQRNN_OUT_OF_MEMORY;
  }
  while (status == PQRNN_OK && fgets(line, sizeof line, stdin)) {
    text.data = line;
    text.size = strcspn(line, "\n");
    status = probabilities ? classify(model, text, probabilities) : parse(model, text);
  }
  if (status != PQRNN_OK) fprintf(stderr, "%s\n", pqrnn_error());
  free(probabilities);
  pqrnn_free(model);
  return status == PQRNN_OK ? 0 : 1;
}
