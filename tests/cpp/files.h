// Whole files, by stdio: WebAssembly's library has no streams for files.
#pragma once

#include <cstdio>
#include <string>

// Empty when it cannot be read.
inline std::string read_file(const std::string& path) {
  std::string content;
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (!file) return content;
  char part[4096];
  for (std::size_t size; (size = std::fread(part, 1, sizeof part, file)) > 0;) {
    content.append(part, size);
  }
  std::fclose(file);
  return content;
}
