// Which tensors a model has, checked before any memory is spent on them.
#pragma once

#include <string>

#include "model/config.h"
#include "model/safetensors.h"
#include "status.h"

namespace pqrnn {

// Whether the file has the tensors of the configuration and no others, each of the right shape and
// dtype, and no value that is not finite, or too large to be computed with. Takes no memory that
// grows with the file, so that a bad file costs nothing. Notes in the file how many weights share
// each byte of a U8 tensor: what its shape lacks.
Status check_tensors(SafetensorsFile& file, const ModelConfig& config);

// An error about the content of a model file.
Status unusable(const std::string& what);

}  // namespace pqrnn
